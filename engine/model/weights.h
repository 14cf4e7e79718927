#ifndef KVASIR_ENGINE_MODEL_WEIGHTS_H_
#define KVASIR_ENGINE_MODEL_WEIGHTS_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/model/config.h"

namespace kvasir {

// A norm's weights on the device.
struct NormWeight {
  std::unique_ptr<Buffer> data;
  int size = 0;
  Tensor tensor() const { return {data->data(), DType::kF32, 1, size}; }
};

struct LayerWeights {
  NormWeight input_norm;      // [hidden]
  PackedWeight qkv;           // [(H + 2K) * D, hidden]
  NormWeight q_norm, k_norm;  // [D]
  PackedWeight o;             // [hidden, H * D]
  NormWeight post_norm;       // [hidden]
  PackedWeight gate_up;       // [2 * ffn, hidden], by PackGateUp
  PackedWeight down;          // [hidden, ffn]
};

struct Weights {
  PackedWeight embedding;  // [vocab, hidden]
  std::vector<LayerWeights> layers;
  NormWeight final_norm;  // [hidden]
  PackedWeight lm_head;   // [vocab, hidden]; data is null where the embedding is tied
  // XXH3-128, hex, over the parsed configuration and every tensor's name, dtype, shape and bytes.
  std::string fingerprint;

  const PackedWeight& head() const { return lm_head.data ? lm_head : embedding; }
};

// Bytes packed so far, of how many. Called on the loading thread.
using LoadProgress = std::function<void(int64_t done, int64_t total)>;

// Bytes of each buffer that LoadWeights has packed or uploaded, matrices in `dtype` and as they
// are.
std::vector<size_t> WeightBytes(const ModelConfig& config, DType dtype);

// Maps model.safetensors, or the shards that model.safetensors.index.json names, and packs tensor
// by tensor, releasing the source pages behind it, so that the peak stays about one model.
// Errors name file and field: NOT_FOUND (a missing file), INVALID_ARGUMENT (a damaged or lying
// header; a missing, duplicate or surplus tensor; a wrong dtype or shape), RESOURCE_EXHAUSTED (the
// device has no memory for a tensor).
absl::StatusOr<Weights> LoadWeights(const std::filesystem::path& dir, const ModelConfig& config,
                                    Backend& backend, const LoadProgress& progress);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_MODEL_WEIGHTS_H_
