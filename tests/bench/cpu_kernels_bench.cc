// Rates of the CPU kernels: `cpu_kernels_bench --benchmark_filter=...`. A matrix product counts
// 2 M N K operations; bytes are those of the weights, or of K and V. Uses the CPUs that it may run
// on; on a single one (taskset) rates are of CPU time, so that a busy machine does not blur them.
#include <algorithm>
#include <random>

#include "benchmark/benchmark.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/cpu/kernel_choice.h"
#include "engine/backend/cpu/thread_pool.h"
#include "engine/check.h"

namespace kvasir {
namespace {

// Qwen3-4B's attention.
AttentionShape Shape() { return {32, 8, 128, 5e6, 1e-6f}; }

std::unique_ptr<Backend> Make(const std::string& kernel, DType dtype, int threads) {
  absl::StatusOr<std::unique_ptr<Backend>> backend =
      CreateCpuBackend({Shape(), dtype, threads, kernel});
  KVASIR_CHECK(backend.ok());
  return *std::move(backend);
}

// Something finite, of either dtype: bf16 and f32 near 1.
void Fill(void* data, size_t bytes, DType dtype) {
  std::minstd_rand random(1);
  for (size_t i = 0; i < bytes / SizeOf(dtype); ++i) {
    const float value = 0.5f + float(random() % 1024) / 1024;
    if (dtype == DType::kF32) {
      static_cast<float*>(data)[i] = value;
    } else {
      static_cast<BFloat16*>(data)[i] = ToBFloat16(value);
    }
  }
}

void MatmulRate(benchmark::State& state, const std::string& kernel, DType dtype, int threads) {
  const int m = int(state.range(0)), n = int(state.range(1)), k = int(state.range(2));
  const std::unique_ptr<Backend> backend = Make(kernel, dtype, threads);
  std::vector<BFloat16> source(size_t(n) * k);
  Fill(source.data(), source.size() * 2, DType::kBf16);
  const PackedWeight w = backend->Pack({{HostMatrix{source.data(), DType::kBf16, n, k}}});
  const DType activation = backend->activation_dtype();
  const std::unique_ptr<Buffer> x = backend->Allocate(size_t(m) * k * SizeOf(activation));
  const std::unique_ptr<Buffer> out = backend->Allocate(size_t(m) * n * 4);
  Fill(x->data(), x->bytes(), activation);
  for (auto _ : state) {
    backend->Matmul({out->data(), DType::kF32, m, n}, {x->data(), activation, m, k}, w);
  }
  using benchmark::Counter;
  state.counters["FLOP/s"] = Counter(2.0 * m * n * k, Counter::kIsIterationInvariantRate);
  state.counters["B/s"] = Counter(double(w.data->bytes()), Counter::kIsIterationInvariantRate);
}

// `tokens` new ones in each of `sequences`, behind `depth` that are stored.
void AttentionRate(benchmark::State& state, const std::string& kernel, DType dtype, int threads) {
  const int tokens = int(state.range(0)), depth = int(state.range(1));
  const int sequences = int(state.range(2));
  const AttentionShape shape = Shape();
  const std::unique_ptr<Backend> backend = Make(kernel, dtype, threads);
  const int rows = tokens * sequences;
  Batch batch;
  batch.Clear();
  batch.max_blocks = (depth + tokens + kBlockTokens - 1) / kBlockTokens;
  const int blocks = batch.max_blocks * sequences;
  KVASIR_CHECK(backend->AllocateKv(1, blocks).ok());
  Fill(backend->Kv(0).data, blocks * backend->KvBlockBytes(1), dtype);
  for (int i = 0; i < blocks; ++i) batch.block_table.push_back(i);
  std::shuffle(batch.block_table.begin(), batch.block_table.end(), std::minstd_rand(1));
  for (int s = 0; s < sequences; ++s) {
    for (int t = 0; t < tokens; ++t) {
      const int position = depth + t;
      batch.tokens.push_back(0);
      batch.positions.push_back(position);
      const int block = batch.block_table[s * batch.max_blocks + position / kBlockTokens];
      batch.slots.push_back(block * kBlockTokens + position % kBlockTokens);
    }
    batch.query_start.push_back(batch.num_tokens());
    batch.context_length.push_back(depth + tokens);
  }
  const int cols = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  const int out_cols = shape.heads * shape.head_dim;
  const std::unique_ptr<Buffer> qkv = backend->Allocate(size_t(rows) * cols * 4);
  const std::unique_ptr<Buffer> out = backend->Allocate(size_t(rows) * out_cols * 4);
  Fill(qkv->data(), qkv->bytes(), DType::kF32);
  const DeviceBatch& staged = backend->Stage(batch);
  for (auto _ : state) {
    backend->Attention({out->data(), backend->activation_dtype(), rows, out_cols},
                       {qkv->data(), DType::kF32, rows, cols}, backend->Kv(0), staged);
  }
  using benchmark::Counter;
  const double pairs = sequences * (double(tokens) * depth + tokens * (tokens + 1) / 2.0);
  state.counters["FLOP/s"] = Counter(4.0 * pairs * out_cols, Counter::kIsIterationInvariantRate);
  state.counters["B/s"] =
      Counter(double(blocks) * backend->KvBlockBytes(1), Counter::kIsIterationInvariantRate);
}

void RegisterAll() {
  const int threads = 0;  // one per CPU
  for (const DType dtype : {DType::kBf16, DType::kF32}) {
    for (const std::string& kernel : AvailableKernels(dtype)) {
      const std::string name = kernel + "-" + NameOf(dtype);
      auto* matmul = benchmark::RegisterBenchmark(("Matmul/" + name).c_str(), MatmulRate, kernel,
                                                  dtype, threads);
      matmul->Args({1, 192, 128})->Args({512, 4096, 4096})->Args({512, 6144, 1024});
      for (const int m : {1, 2, 4, 8, 16, 32, 64}) matmul->Args({m, 16384, 4096});
      auto* attention = benchmark::RegisterBenchmark(("Attention/" + name).c_str(), AttentionRate,
                                                     kernel, dtype, threads);
      attention->Args({1, 4095, 1})->Args({1, 4095, 16})->Args({512, 0, 1})->Args({512, 8192, 1});
      for (auto* bench : {matmul, attention}) {
        bench->Unit(benchmark::kMicrosecond);
        if (AvailableCpus() > 1) bench->UseRealTime();
      }
    }
  }
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) {
  kvasir::RegisterAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
