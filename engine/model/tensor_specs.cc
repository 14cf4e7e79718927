#include "absl/strings/str_cat.h"
#include "engine/model/config.h"

namespace kvasir {

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config) {
  const int q = config.heads * config.head_dim;
  const int kv = config.kv_heads * config.head_dim;
  std::vector<TensorSpec> specs = {{"model.embed_tokens.weight", config.vocab, config.hidden}};
  for (int i = 0; i < config.layers; ++i) {
    const std::string layer = absl::StrCat("model.layers.", i, ".");
    specs.push_back({layer + "input_layernorm.weight", config.hidden});
    specs.push_back({layer + "self_attn.q_proj.weight", q, config.hidden});
    specs.push_back({layer + "self_attn.k_proj.weight", kv, config.hidden});
    specs.push_back({layer + "self_attn.v_proj.weight", kv, config.hidden});
    specs.push_back({layer + "self_attn.q_norm.weight", config.head_dim});
    specs.push_back({layer + "self_attn.k_norm.weight", config.head_dim});
    specs.push_back({layer + "self_attn.o_proj.weight", config.hidden, q});
    specs.push_back({layer + "post_attention_layernorm.weight", config.hidden});
    specs.push_back({layer + "mlp.gate_proj.weight", config.ffn, config.hidden});
    specs.push_back({layer + "mlp.up_proj.weight", config.ffn, config.hidden});
    specs.push_back({layer + "mlp.down_proj.weight", config.hidden, config.ffn});
  }
  specs.push_back({"model.norm.weight", config.hidden});
  if (!config.tied_embeddings) specs.push_back({"lm_head.weight", config.vocab, config.hidden});
  return specs;
}

int64_t ParameterCount(const ModelConfig& config) {
  int64_t count = 0;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    count += int64_t{spec.rows} * (spec.cols == 0 ? 1 : spec.cols);
  }
  return count;
}

}  // namespace kvasir
