#include "services/cli/kernel_bench.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/cpu/kernel_choice.h"

namespace kvasir::cli {
namespace {

// Larger than caches: 128 MiB in bf16.
constexpr int kRows = 16384, kColumns = 4096;
constexpr int kRounds = 5;

// Seconds of one product of `m` rows; the median.
double ProductSeconds(Backend& backend, const PackedWeight& w, int m) {
  const DType activation = backend.activation_dtype();
  const std::unique_ptr<Buffer> x = backend.Allocate(size_t(m) * kColumns * SizeOf(activation));
  const std::unique_ptr<Buffer> out = backend.Allocate(size_t(m) * kRows * sizeof(float));
  std::fill_n(static_cast<uint16_t*>(x->data()), x->bytes() / 2, uint16_t{0x3F80});
  std::vector<double> seconds;
  for (int round = 0; round <= kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    backend.Matmul({out->data(), DType::kF32, m, kRows}, {x->data(), activation, m, kColumns}, w);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (round > 0) seconds.push_back(took.count());  // the first touches memory
  }
  std::nth_element(seconds.begin(), seconds.begin() + kRounds / 2, seconds.end());
  return seconds[kRounds / 2];
}

}  // namespace

int RunKernelBench(int threads, bool json) {
  const char* before = "[\n";
  if (!json)
    std::printf("%-10s %-5s %20s %20s\n", "kernel", "dtype", "512 rows, GFLOP/s", "1 row, GB/s");
  for (const DType dtype : {DType::kBf16, DType::kF32}) {
    // Ones in bf16, something near one in f32.
    const std::vector<uint16_t> ones(size_t(kRows) * kColumns * SizeOf(dtype) / 2, 0x3F80);
    for (const std::string& kernel : AvailableKernels(dtype)) {
      const absl::StatusOr<std::unique_ptr<Backend>> backend = CreateCpuBackend(
          {{.heads = 1, .kv_heads = 1, .head_dim = 128, .rope_theta = 1e6, .norm_eps = 1e-6f},
           dtype,
           threads,
           kernel});
      if (!backend.ok()) {
        std::fprintf(stderr, "kvasir: %s\n", backend.status().ToString().c_str());
        return 1;
      }
      const PackedWeight w = (*backend)->Pack({{HostMatrix{ones.data(), dtype, kRows, kColumns}}});
      const double many = ProductSeconds(**backend, w, 512);
      const double one = ProductSeconds(**backend, w, 1);
      const double flops = 2.0 * 512 * kRows * kColumns / many, bytes = w.data->bytes() / one;
      if (json) {
        std::printf(
            "%s{\"kernel\": \"%s\", \"dtype\": \"%s\", \"flops_per_second\": %.4g, "
            "\"bytes_per_second\": %.4g}",
            std::exchange(before, ",\n"), kernel.c_str(), NameOf(dtype), flops, bytes);
      } else {
        std::printf("%-10s %-5s %20.0f %20.1f\n", kernel.c_str(), NameOf(dtype), flops * 1e-9,
                    bytes * 1e-9);
      }
      std::fflush(stdout);
    }
  }
  if (json) std::printf("\n]\n");
  return 0;
}

}  // namespace kvasir::cli
