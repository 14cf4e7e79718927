#include "tests/engine/backend/cuda/step_traffic.h"

#include <memory>
#include <vector>

#include "engine/backend/cuda/cuda_backend.h"
#include "engine/check.h"
#include "engine/model/qwen3.h"
#include "engine/model/weights.h"
#include "tests/engine/random_weights.h"

namespace kvasir::cuda {
namespace {

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
    simt::KernelCounts& total = scaled[name];
    const auto scale = [layers](uint64_t& value, uint64_t with_two) {
      value += (with_two - value) * (layers - 1);
    };
    scale(total.launches, of_two.launches);
    scale(total.load_bytes, of_two.load_bytes);
    scale(total.full_load_bytes, of_two.full_load_bytes);
    scale(total.load_sectors, of_two.load_sectors);
    scale(total.distinct_load_sectors, of_two.distinct_load_sectors);
    scale(total.store_bytes, of_two.store_bytes);
    scale(total.store_sectors, of_two.store_sectors);
    scale(total.distinct_store_sectors, of_two.distinct_store_sectors);
    scale(total.shared_wavefronts, of_two.shared_wavefronts);
    scale(total.bank_conflicts, of_two.bank_conflicts);
    scale(total.tensor_flops, of_two.tensor_flops);
  }
  return scaled;
}

simt::KernelCounts Sum(const Traffic& traffic) {
  simt::KernelCounts sum;
  for (const auto& [name, counts] : traffic) {
    sum.launches += counts.launches;
    sum.load_bytes += counts.load_bytes;
    sum.full_load_bytes += counts.full_load_bytes;
    sum.load_sectors += counts.load_sectors;
    sum.distinct_load_sectors += counts.distinct_load_sectors;
    sum.store_bytes += counts.store_bytes;
    sum.store_sectors += counts.store_sectors;
    sum.distinct_store_sectors += counts.distinct_store_sectors;
    sum.shared_wavefronts += counts.shared_wavefronts;
    sum.bank_conflicts += counts.bank_conflicts;
    sum.tensor_flops += counts.tensor_flops;
  }
  return sum;
}

int64_t LeastBytes(const ModelConfig& config, const StepShape& shape) {
  const int64_t kv_bytes_a_token =
      int64_t{2} * config.layers * config.kv_heads * config.head_dim * 2;
  return ParameterCount(config) * 2 + kv_bytes_a_token * shape.batch * shape.context;
}

}  // namespace kvasir::cuda
