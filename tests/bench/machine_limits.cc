// What this machine can do at most, all CPUs together, as one JSON object: the yardsticks of
// scripts/bench.sh.
//
//   read_bytes_per_second   memory read by vector loads, in huge pages where the kernel gives them
//   f32_fma_flops           f32 fused multiply-adds on registers, 2 operations each
//   bf16_dot_flops          vdpbf16ps on registers, 4 operations a lane; 0 where the CPU lacks it
//
// Each is the best of several rounds: a limit, not a mean. `machine_limits --read` measures the
// first alone.
#include <immintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string_view>
#include <thread>
#include <vector>

#include "engine/backend/cpu/host_memory.h"
#include "engine/backend/cpu/thread_pool.h"
#include "engine/check.h"

namespace kvasir {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 7;
constexpr size_t kReadBytes = size_t{1} << 30;
constexpr int kMultiplyRounds = 20'000'000;

double Seconds(Clock::time_point from) {
  return std::chrono::duration<double>(Clock::now() - from).count();
}

// Units a second of `body(thread)`, run on every CPU at once; each does `units` of them.
double BestRate(double units, const std::function<void(int)>& body) {
  const int threads = AvailableCpus();
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::atomic<int> ready = 0;
    std::atomic<bool> go = false;
    std::vector<std::thread> workers;
    for (int i = 0; i < threads; ++i) {
      workers.emplace_back([&, i] {
        ++ready;
        while (!go) _mm_pause();
        body(i);
      });
    }
    while (ready < threads) _mm_pause();
    const Clock::time_point start = Clock::now();
    go = true;
    for (std::thread& worker : workers) worker.join();
    best = std::max(best, units * threads / Seconds(start));
  }
  return best;
}

constexpr size_t kAheadBytes = 8192;  // as much as memory delivers within its latency

__attribute__((target("avx2"))) void Read(const char* data, size_t bytes) {
  __m256i a = _mm256_setzero_si256(), b = a;
  for (size_t i = 0; i < bytes; i += 64) {
    const auto* at = reinterpret_cast<const __m256i*>(data + i);
    _mm_prefetch(data + i + kAheadBytes, _MM_HINT_NTA);
    a = _mm256_or_si256(a, _mm256_load_si256(at));
    b = _mm256_or_si256(b, _mm256_load_si256(at + 1));
  }
  const __m256i all = _mm256_or_si256(a, b);
  asm volatile("" : : "x"(all));  // or nothing would be read
}

double ReadRate() {
  const int threads = AvailableCpus();
  const std::unique_ptr<Buffer> memory = MapHostMemory(kReadBytes);
  KVASIR_CHECK(memory != nullptr);
  std::memset(memory->data(), 1, kReadBytes);
  const size_t part = kReadBytes / threads / 4096 * 4096;
  return BestRate(double(part), [&](int thread) {
    Read(static_cast<const char*>(memory->data()) + thread * part, part);
  });
}

// More chains than any core's latency times its rate, in the registers that there are.
constexpr int kChains = 20, kChainsAvx2 = 12;

__attribute__((target("avx2,fma"))) void FmaAvx2() {
  __m256 sums[kChainsAvx2];
  for (__m256& sum : sums) sum = _mm256_set1_ps(1);
  const __m256 x = _mm256_set1_ps(0.999f);
  for (int i = 0; i < kMultiplyRounds; ++i) {
#pragma GCC unroll 20
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(sum, x, x);
#pragma GCC unroll 20
    for (__m256& sum : sums) asm volatile("" : "+x"(sum));
  }
}

__attribute__((target("avx512f"))) void FmaAvx512() {
  __m512 sums[kChains];
  for (__m512& sum : sums) sum = _mm512_set1_ps(1);
  const __m512 x = _mm512_set1_ps(0.999f);
  for (int i = 0; i < kMultiplyRounds; ++i) {
#pragma GCC unroll 20
    for (__m512& sum : sums) sum = _mm512_fmadd_ps(sum, x, x);
#pragma GCC unroll 20
    for (__m512& sum : sums) asm volatile("" : "+v"(sum));
  }
}

__attribute__((target("avx512f,avx512bf16"))) void DotBf16() {
  __m512 sums[kChains];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1), _mm512_set1_ps(1));
  for (int i = 0; i < kMultiplyRounds; ++i) {
#pragma GCC unroll 20
    for (__m512& sum : sums) sum = _mm512_dpbf16_ps(sum, x, x);
#pragma GCC unroll 20
    for (__m512& sum : sums) asm volatile("" : "+v"(sum));
  }
}

double F32Rate() {
  if (__builtin_cpu_supports("avx512f")) {
    return BestRate(2.0 * 16 * kChains * kMultiplyRounds, [](int) { FmaAvx512(); });
  }
  return BestRate(2.0 * 8 * kChainsAvx2 * kMultiplyRounds, [](int) { FmaAvx2(); });
}

double Bf16Rate() {
  if (!__builtin_cpu_supports("avx512bf16")) return 0;
  return BestRate(4.0 * 16 * kChains * kMultiplyRounds, [](int) { DotBf16(); });
}

int Main(bool read_alone) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::fputs("machine_limits: this CPU lacks AVX2 and FMA\n", stderr);
    return 1;
  }
  const double read = ReadRate();
  if (read_alone) {
    std::printf("{\"read_bytes_per_second\": %.4g}\n", read);
    return 0;
  }
  const double f32 = F32Rate();
  std::printf(
      "{\"threads\": %d, \"read_bytes_per_second\": %.4g, \"f32_fma_flops\": %.4g, "
      "\"bf16_dot_flops\": %.4g}\n",
      AvailableCpus(), read, f32, Bf16Rate());
  return 0;
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) {
  return kvasir::Main(argc == 2 && std::string_view(argv[1]) == "--read");
}
