#include "engine/model/qwen3.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "engine/check.h"

namespace kvasir {

Qwen3::Qwen3(const ModelConfig& config, const Weights& weights, Backend& backend, int max_tokens,
             int max_logits)
    : config_(config),
      weights_(weights),
      backend_(backend),
      max_tokens_(max_tokens),
      max_logits_(max_logits) {}

absl::StatusOr<std::unique_ptr<Qwen3>> Qwen3::Create(const ModelConfig& config,
                                                     const Weights& weights, Backend& backend,
                                                     int max_tokens, int max_logits) {
  std::unique_ptr<Qwen3> model(new Qwen3(config, weights, backend, max_tokens, max_logits));
  std::unique_ptr<Buffer>* const buffers[] = {
      &model->residual_, &model->delta_, &model->normed_, &model->qkv_,   &model->attended_,
      &model->gate_up_,  &model->mlp_,   &model->last_,   &model->logits_};
  const std::vector<size_t> bytes =
      WorkspaceBytes(config, backend.activation_dtype(), max_tokens, max_logits);
  for (size_t i = 0; i < bytes.size(); ++i) {
    *buffers[i] = backend.Allocate(bytes[i]);
    if (*buffers[i] == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrCat(backend.device(), " has no ", bytes[i], " bytes for activations"));
    }
  }
  const absl::Status prepared =
      backend.Prepare([&](const DeviceBatch& batch) { model->Layers(batch); });
  if (!prepared.ok()) return prepared;
  return model;
}

// In the order of the buffers in Create.
std::vector<size_t> Qwen3::WorkspaceBytes(const ModelConfig& config, DType activation,
                                          int max_tokens, int max_logits) {
  const size_t f32 = sizeof(float);
  const size_t act = SizeOf(activation);
  const size_t t = max_tokens;
  const size_t r = max_logits;
  return {t * config.hidden * f32,
          t * config.hidden * f32,
          t * config.hidden * act,
          t * config.qkv_rows() * f32,
          t * config.heads * config.head_dim * act,
          t * 2 * config.ffn * f32,
          t * config.ffn * act,
          r * config.hidden * act,
          r * config.vocab * f32};
}

Tensor Qwen3::Forward(const Batch& batch) {
  KVASIR_CHECK(batch.num_tokens() > 0 && batch.num_tokens() <= max_tokens_ &&
               batch.num_logits() <= max_logits_);
  backend_.Run(batch, [this](const DeviceBatch& staged) { Layers(staged); });
  return View(logits_, DType::kF32, batch.num_logits(), config_.vocab);
}

void Qwen3::Layers(const DeviceBatch& batch) {
  const int T = batch.num_tokens;
  const int R = batch.num_logits;
  const DType act = backend_.activation_dtype();
  const float eps = config_.norm_eps;
  const Tensor residual = View(residual_, DType::kF32, T, config_.hidden);
  const Tensor delta = View(delta_, DType::kF32, T, config_.hidden);
  const Tensor normed = View(normed_, act, T, config_.hidden);
  const Tensor qkv = View(qkv_, DType::kF32, T, config_.qkv_rows());
  const Tensor attended = View(attended_, act, T, config_.heads * config_.head_dim);
  const Tensor gate_up = View(gate_up_, DType::kF32, T, 2 * config_.ffn);
  const Tensor mlp = View(mlp_, act, T, config_.ffn);
  const auto probe = [&](int layer, const char* name, Tensor value) {
    if (probe_) probe_(layer < 0 ? name : std::to_string(layer) + "." + name, value);
  };

  backend_.Embed(residual, weights_.embedding, batch);
  probe(-1, "embed", residual);
  Tensor added;  // what the block before has yet to add to the residual stream
  const auto add = [&](int layer, const char* name, Tensor x, const PackedWeight& w) {
    if (!probe_) {
      added = backend_.MatmulAdd(residual, delta, x, w);
      return;
    }
    backend_.Matmul(delta, x, w);
    probe(layer, name, delta);
    added = delta;
  };
  for (int i = 0; i < config_.layers; ++i) {
    const LayerWeights& layer = weights_.layers[i];
    const KvLayer kv = backend_.Kv(i);
    backend_.AddRmsNorm(normed, residual, added, layer.input_norm.tensor(), eps);
    backend_.Matmul(qkv, normed, layer.qkv);
    backend_.NormRopeStore(qkv, layer.q_norm.tensor(), layer.k_norm.tensor(), kv, batch);
    backend_.Attention(attended, qkv, kv, batch);
    add(i, "attention", attended, layer.o);
    backend_.AddRmsNorm(normed, residual, added, layer.post_norm.tensor(), eps);
    backend_.MatmulSiluMul(mlp, gate_up, normed, layer.gate_up);
    add(i, "mlp", mlp, layer.down);
  }
  backend_.AddRmsNorm(normed, residual, added, weights_.final_norm.tensor(), eps);
  probe(-1, "final", normed);
  if (R == 0) return;
  const Tensor last = View(last_, act, R, config_.hidden);
  backend_.GatherRows(last, normed, batch);
  backend_.Matmul(View(logits_, DType::kF32, R, config_.vocab), last, weights_.head());
}

}  // namespace kvasir
