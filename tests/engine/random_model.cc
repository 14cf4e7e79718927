#include "tests/engine/random_model.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/model/config.h"
#include "engine/tensor.h"
#include "tests/engine/engine_harness.h"

namespace kvasir::testing {
namespace {

constexpr int kHeadDim = 32;
constexpr int kHidden = 48;
constexpr int kFfn = 80;

std::string ConfigJson(const RandomModel::Shape& shape) {
  return absl::StrCat(
      R"({"model_type": "qwen3", "hidden_act": "silu", "attention_bias": false,)",
      R"( "tie_word_embeddings": true, "torch_dtype": "bfloat16", "rope_theta": 5000000,)",
      R"( "rms_norm_eps": 1e-6, "eos_token_id": )", int{RandomModel::kEos},
      R"(, "num_hidden_layers": )", shape.layers, R"(, "hidden_size": )", kHidden,
      R"(, "intermediate_size": )", kFfn, R"(, "vocab_size": )", int{RandomModel::kVocab},
      R"(, "num_attention_heads": )", shape.heads, R"(, "num_key_value_heads": )", shape.kv_heads,
      R"(, "head_dim": )", kHeadDim, R"(, "max_position_embeddings": )", shape.max_positions, "}");
}

// Matrices have rows of norm about 1.5, so that signals neither die nor explode over layers and
// the tied head spreads the logits over several units; norms lie around 1.
void WriteWeights(const std::filesystem::path& path, const ModelConfig& config) {
  std::mt19937 random(20241);
  std::normal_distribution<float> normal;
  std::string header = "{";
  std::vector<BFloat16> data;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    const size_t begin = data.size() * 2;
    const bool vector = spec.cols == 0;
    const float scale = vector ? 0.2f : 1.5f / std::sqrt(static_cast<float>(spec.cols));
    const size_t count = size_t(spec.rows) * (vector ? 1 : spec.cols);
    for (size_t i = 0; i < count; ++i) {
      data.push_back(ToBFloat16((vector ? 1.0f : 0.0f) + scale * normal(random)));
    }
    absl::StrAppend(&header, header.size() > 1 ? "," : "", "\"", spec.name,
                    R"(":{"dtype":"BF16","shape":[)", spec.rows, vector ? "" : ",",
                    vector ? "" : absl::StrCat(spec.cols), R"(],"data_offsets":[)", begin, ",",
                    data.size() * 2, "]}");
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t length = header.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length));
  file << header;
  file.write(reinterpret_cast<const char*>(data.data()),
             static_cast<std::streamsize>(data.size() * sizeof(BFloat16)));
}

}  // namespace

EngineOptions RandomModel::Options(Shape shape) {
  static TemporaryDirectory root;
  const std::string json = ConfigJson(shape);
  const std::filesystem::path dir =
      root.path() /
      absl::StrCat(shape.layers, "-", shape.heads, "-", shape.kv_heads, "-", shape.max_positions);
  if (std::filesystem::create_directory(dir)) {
    std::ofstream(dir / "config.json") << json;
    WriteWeights(dir / "model.safetensors", ParseModelConfig(json).value());
  }
  EngineOptions options;
  options.model_dir = dir;
  options.threads = 2;
  options.kv_memory = shape.kv_tokens * shape.layers * shape.kv_heads * kHeadDim * 2 * 2;
  return options;
}

bool RandomModel::HasKernel(const std::string& kernel) {
  CpuBackendOptions options;
  options.attention = {
      .heads = 2, .kv_heads = 1, .head_dim = 32, .rope_theta = 1e4, .norm_eps = 1e-6f};
  options.threads = 1;
  options.kernel = kernel;
  return CreateCpuBackend(options).ok();
}

}  // namespace kvasir::testing
