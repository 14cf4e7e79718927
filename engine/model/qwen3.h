#ifndef KVASIR_ENGINE_MODEL_QWEN3_H_
#define KVASIR_ENGINE_MODEL_QWEN3_H_

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/model/config.h"
#include "engine/model/weights.h"

namespace kvasir {

// Qwen3, the ONE forward pass. Same results as transformers' Qwen3ForCausalLM.
class Qwen3 {
 public:
  // With workspace for steps of up to max_tokens rows, max_logits of them with logits.
  // RESOURCE_EXHAUSTED where the device has no memory for it.
  // REQUIRES: config, backend, weights outlive this; the KV pool is there.
  static absl::StatusOr<std::unique_ptr<Qwen3>> Create(const ModelConfig& config,
                                                       const Weights& weights, Backend& backend,
                                                       int max_tokens, int max_logits);
  // Bytes of each buffer of that workspace.
  static std::vector<size_t> WorkspaceBytes(const ModelConfig& config, DType activation,
                                            int max_tokens, int max_logits);

  // Computes K and V of the batch's tokens into their slots and returns the logits of
  // batch.logit_rows: [R, vocab] f32, valid until the next call.
  // REQUIRES: 0 < T <= max_tokens, R <= max_logits; positions below max_positions; every slot's
  // block owned by the sequence alone.
  Tensor Forward(const Batch& batch);

  // For tests that look for a failing layer: called with the residual stream's contribution after
  // the embedding (name "embed") and each layer's attention and mlp ("3.attention", "3.mlp"), and
  // the final norm ("final"): [T, hidden].
  using Probe = std::function<void(std::string_view name, Tensor value)>;
  void set_probe(Probe probe) { probe_ = std::move(probe); }

 private:
  Qwen3(const ModelConfig& config, const Weights& weights, Backend& backend, int max_tokens,
        int max_logits);
  void Layers(const DeviceBatch& batch);
  Tensor View(const std::unique_ptr<Buffer>& buffer, DType dtype, int rows, int cols) const {
    return {buffer->data(), dtype, rows, cols};
  }

  const ModelConfig& config_;
  const Weights& weights_;
  Backend& backend_;
  const int max_tokens_;
  const int max_logits_;
  std::unique_ptr<Buffer> residual_;  // [T, hidden] f32
  std::unique_ptr<Buffer> delta_;     // [T, hidden] f32, what the last block adds
  std::unique_ptr<Buffer> normed_;    // [T, hidden]
  std::unique_ptr<Buffer> qkv_;       // [T, (H + 2K) * D] f32
  std::unique_ptr<Buffer> attended_;  // [T, H * D]
  std::unique_ptr<Buffer> gate_up_;   // [T, 2 * ffn] f32
  std::unique_ptr<Buffer> mlp_;       // [T, ffn]
  std::unique_ptr<Buffer> last_;      // [R, hidden]
  std::unique_ptr<Buffer> logits_;    // [R, vocab] f32
  Probe probe_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_MODEL_QWEN3_H_
