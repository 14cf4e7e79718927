#include "tests/engine/backend/cuda/step_traffic.h"

#include <cmath>
#include <memory>
#include <vector>

#include "engine/backend/cuda/cuda_backend.h"
#include "engine/check.h"
#include "engine/model/qwen3.h"
#include "engine/model/weights.h"
#include "tests/engine/random_weights.h"

namespace kvasir::cuda {
namespace {

constexpr uint64_t simt::KernelCounts::*kCounts[] = {&simt::KernelCounts::launches,
                                                     &simt::KernelCounts::load_bytes,
                                                     &simt::KernelCounts::full_load_bytes,
                                                     &simt::KernelCounts::load_sectors,
                                                     &simt::KernelCounts::distinct_load_sectors,
                                                     &simt::KernelCounts::store_bytes,
                                                     &simt::KernelCounts::store_sectors,
                                                     &simt::KernelCounts::distinct_store_sectors,
                                                     &simt::KernelCounts::shared_wavefronts,
                                                     &simt::KernelCounts::bank_conflicts,
                                                     &simt::KernelCounts::tensor_flops};

bool IsAttention(const std::string& kernel) {
  return kernel.find("AttentionKernel") != std::string::npos;
}

Batch MakeBatch(const StepShape& shape) {
  const int blocks = (shape.context + kBlockTokens - 1) / kBlockTokens;
  Batch batch;
  batch.Clear();
  batch.max_blocks = blocks;
  for (int s = 0; s < shape.batch; ++s) {
    for (int b = 0; b < blocks; ++b) batch.block_table.push_back(s * blocks + b);
    for (int i = shape.context - shape.rows; i < shape.context; ++i) {
      batch.tokens.push_back(s);
      batch.positions.push_back(i);
      batch.slots.push_back((s * blocks + i / kBlockTokens) * kBlockTokens + i % kBlockTokens);
    }
    batch.logit_rows.push_back(batch.num_tokens() - 1);
    batch.query_start.push_back(batch.num_tokens());
    batch.context_length.push_back(shape.context);
  }
  return batch;
}

}  // namespace

ModelConfig Qwen3Of4B(int layers) {
  return {.layers = layers,
          .hidden = 2560,
          .ffn = 9728,
          .vocab = 151936,
          .heads = 32,
          .kv_heads = 8,
          .head_dim = 128,
          .rope_theta = 5e6,
          .norm_eps = 1e-6f,
          .max_positions = 262144,
          .tied_embeddings = true};
}

Traffic CountStep(const ModelConfig& config, const StepShape& shape) {
  const Batch batch = MakeBatch(shape);
  GpuBackendOptions options;
  options.attention = {config.heads, config.kv_heads, config.head_dim, config.rope_theta,
                       config.norm_eps};
  options.hidden = config.hidden;
  options.ffn = config.ffn;
  options.vocab = config.vocab;
  options.layers = config.layers;
  options.max_positions = shape.context;
  options.max_step_tokens = batch.num_tokens();
  options.max_sequences = shape.batch;
  options.max_logits = shape.batch;
  options.deterministic = true;
  absl::StatusOr<std::unique_ptr<Backend>> backend = CreateCudaBackend(options);
  KVASIR_CHECK(backend.ok());
  const std::vector<uint16_t> random = RandomBf16(LargestMatrix(config));
  const Weights weights = RandomWeights(config, random, **backend);
  KVASIR_CHECK((*backend)->AllocateKv(config.layers, shape.batch * batch.max_blocks).ok());
  const absl::StatusOr<std::unique_ptr<Qwen3>> model =
      Qwen3::Create(config, weights, **backend, batch.num_tokens(), shape.batch);
  KVASIR_CHECK(model.ok());
  (void)simt::TakeCounts();
  (void)(*model)->Forward(batch);
  return simt::TakeCounts();
}

Traffic ScaleLayers(const Traffic& one, const Traffic& two, int layers) {
  Traffic scaled = one;
  for (const auto& [name, of_two] : two) {
    for (const auto count : kCounts) {
      uint64_t& value = scaled[name].*count;
      value += (of_two.*count - value) * (layers - 1);
    }
  }
  return scaled;
}

Traffic CountAttention(const ModelConfig& config, const StepShape& shape) {
  ModelConfig thin = config;
  thin.layers = 1;
  thin.hidden = thin.ffn = thin.vocab = 64;
  Traffic attention = CountStep(thin, shape);
  std::erase_if(attention, [](const auto& kernel) { return !IsAttention(kernel.first); });
  return attention;
}

Traffic WithAttention(const Traffic& step, const Traffic& attention, int layers) {
  Traffic changed = step;
  std::erase_if(changed, [](const auto& kernel) { return IsAttention(kernel.first); });
  for (const auto& [name, counts] : attention) {
    for (const auto count : kCounts) changed[name].*count = counts.*count * layers;
  }
  return changed;
}

Traffic Extrapolate(const Traffic& first, double at_first, const Traffic& last, double at_last,
                    double at) {
  Traffic result = first;
  for (const auto& [name, counts] : last) {
    for (const auto count : kCounts) {
      uint64_t& value = result[name].*count;
      const double slope = (double(counts.*count) - double(value)) / (at_last - at_first);
      value = static_cast<uint64_t>(std::llround(double(value) + slope * (at - at_first)));
    }
  }
  return result;
}

simt::KernelCounts Sum(const Traffic& traffic) {
  simt::KernelCounts sum;
  for (const auto& [name, counts] : traffic) {
    for (const auto count : kCounts) sum.*count += counts.*count;
  }
  return sum;
}

int64_t LeastBytes(const ModelConfig& config, const StepShape& shape) {
  const int64_t kv_bytes_a_token =
      int64_t{2} * config.layers * config.kv_heads * config.head_dim * 2;
  return ParameterCount(config) * 2 + kv_bytes_a_token * shape.batch * shape.context;
}

}  // namespace kvasir::cuda
