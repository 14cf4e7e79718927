#include "tests/engine/random_weights.h"

#include <algorithm>
#include <utility>

#include "engine/check.h"

namespace kvasir {
namespace {

// Cuts matrices out of random numbers.
class Source {
 public:
  Source(const std::vector<uint16_t>& random, Backend& backend)
      : random_(random), backend_(backend) {}

  HostMatrix Next(int rows, int cols) {
    const size_t count = size_t(rows) * cols;
    KVASIR_CHECK(count <= random_.size());
    constexpr size_t kStride = 1'000'003;
    offset_ = (offset_ + kStride) % (random_.size() - count + 1);
    return {random_.data() + offset_, DType::kBf16, rows, cols};
  }
  PackedWeight Pack(int rows, int cols) {
    const HostMatrix matrix = Next(rows, cols);
    return backend_.Pack({&matrix, 1});
  }
  NormWeight Ones(int size) {
    const std::vector<float> ones(size, 1.0f);
    return {backend_.UploadVector({ones.data(), DType::kF32, 1, size}), size};
  }

 private:
  const std::vector<uint16_t>& random_;
  Backend& backend_;
  size_t offset_ = 0;
};

}  // namespace

std::vector<uint16_t> RandomBf16(size_t count) {
  constexpr uint32_t kExponent = 120;  // 2^-7
  std::vector<uint16_t> values(count);
  uint64_t state = 88172645463325252u;
  for (uint16_t& value : values) {
    // Marsaglia 2003, xorshift.
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const auto bits = static_cast<uint32_t>(state >> 32);
    value =
        static_cast<uint16_t>((bits & 0x8000) | (kExponent + (bits >> 7 & 1)) << 7 | (bits & 0x7f));
  }
  return values;
}

size_t LargestMatrix(const ModelConfig& config) {
  size_t largest = size_t(config.qkv_rows()) * config.hidden;  // q, k and v in one
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    largest = std::max(largest, size_t(spec.rows) * std::max(1, spec.cols));
  }
  return largest;
}

Weights RandomWeights(const ModelConfig& config, const std::vector<uint16_t>& random,
                      Backend& backend) {
  Source source(random, backend);
  const int query = config.heads * config.head_dim;
  Weights weights;
  weights.embedding = source.Pack(config.vocab, config.hidden);
  if (!config.tied_embeddings) weights.lm_head = source.Pack(config.vocab, config.hidden);
  for (int i = 0; i < config.layers; ++i) {
    LayerWeights layer;
    layer.input_norm = source.Ones(config.hidden);
    layer.qkv = source.Pack(config.qkv_rows(), config.hidden);
    layer.q_norm = source.Ones(config.head_dim);
    layer.k_norm = source.Ones(config.head_dim);
    layer.o = source.Pack(config.hidden, query);
    layer.post_norm = source.Ones(config.hidden);
    const HostMatrix gate = source.Next(config.ffn, config.hidden);
    layer.gate_up = backend.PackGateUp(gate, source.Next(config.ffn, config.hidden));
    layer.down = source.Pack(config.hidden, config.ffn);
    weights.layers.push_back(std::move(layer));
  }
  weights.final_norm = source.Ones(config.hidden);
  return weights;
}

}  // namespace kvasir
