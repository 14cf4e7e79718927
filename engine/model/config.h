#ifndef KVASIR_ENGINE_MODEL_CONFIG_H_
#define KVASIR_ENGINE_MODEL_CONFIG_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/sampling.h"
#include "engine/tensor.h"

namespace kvasir {

// A dense Qwen3, as config.json describes it. Both of Hugging Face's spellings are taken:
// rope_theta / torch_dtype and rope_parameters.rope_theta / dtype.
struct ModelConfig {
  int layers = 0;
  int hidden = 0;
  int ffn = 0;  // intermediate_size
  int vocab = 0;
  int heads = 0;     // H
  int kv_heads = 0;  // K
  int head_dim = 0;  // D; H * D need not be hidden
  double rope_theta = 0;
  float norm_eps = 0;
  int64_t max_positions = 0;
  bool tied_embeddings = false;
  DType dtype = DType::kBf16;  // the checkpoint's

  int qkv_rows() const { return (heads + 2 * kv_heads) * head_dim; }
};

struct GenerationConfig {
  std::vector<int> eos_token_ids;
  SamplingOverrides sampling;  // temperature, top_k, top_p, min_p, repetition_penalty where set
};

// INVALID_ARGUMENT "config.json: field 'x': ...": a missing field, a wrong type, a value out of
// range, or one that is not implemented (rope scaling, sliding window, attention_bias, another
// hidden_act or model_type): refused by name, never ignored.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json);

// `config_json` supplies eos_token_id where generation_config.json is absent (empty string).
absl::StatusOr<GenerationConfig> ParseGenerationConfig(std::string_view json,
                                                       std::string_view config_json,
                                                       const ModelConfig& config);

// Every tensor of the checkpoint by name, with its shape [rows, cols]; a norm is a vector.
struct TensorSpec {
  std::string name;
  int rows = 0;
  int cols = 0;  // 0: a vector of `rows`
};
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config);
// Elements of all of them.
int64_t ParameterCount(const ModelConfig& config);

// NOT_FOUND or INVALID_ARGUMENT naming the file.
absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_MODEL_CONFIG_H_
