#include "tests/engine/model/checkpoint_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace kvasir::testing {
namespace {

// IEEE-754 binary16, rounded to nearest even. REQUIRES: |value| < 65504. (clang 14 has no _Float16
// for x86-64.)
uint16_t HalfBits(float value) {
  int exponent = 0;
  std::frexp(value, &exponent);  // |value| < 2^exponent
  exponent = value == 0 ? -14 : std::max(exponent - 1, -14);
  const float significand = std::nearbyint(std::ldexp(std::abs(value), 10 - exponent));
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  return static_cast<uint16_t>(sign | (((exponent + 14) << 10) + static_cast<int>(significand)));
}

void AppendElement(std::string& bytes, float value, DType dtype) {
  if (dtype == DType::kF32) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  } else if (dtype == DType::kBf16) {
    const BFloat16 rounded = ToBFloat16(value);
    bytes.append(reinterpret_cast<const char*>(&rounded), sizeof(rounded));
  } else {
    const uint16_t rounded = HalfBits(value);
    bytes.append(reinterpret_cast<const char*>(&rounded), sizeof(rounded));
  }
}

const char* SafetensorsName(DType dtype) {
  return dtype == DType::kF32 ? "F32" : dtype == DType::kBf16 ? "BF16" : "F16";
}

}  // namespace

std::string ConfigJson(const ModelConfig& c) {
  const char* dtype = c.dtype == DType::kF32    ? "float32"
                      : c.dtype == DType::kBf16 ? "bfloat16"
                                                : "float16";
  return absl::StrFormat(
      R"({"model_type": "qwen3", "hidden_act": "silu", "attention_bias": false, )"
      R"("num_hidden_layers": %d, "hidden_size": %d, "intermediate_size": %d, "vocab_size": %d, )"
      R"("num_attention_heads": %d, "num_key_value_heads": %d, "head_dim": %d, )"
      R"("rope_theta": %.17g, "rms_norm_eps": %.9g, "max_position_embeddings": %d, )"
      R"("tie_word_embeddings": %s, "torch_dtype": "%s", "eos_token_id": %d})",
      c.layers, c.hidden, c.ffn, c.vocab, c.heads, c.kv_heads, c.head_dim, c.rope_theta, c.norm_eps,
      c.max_positions, c.tied_embeddings ? "true" : "false", dtype, c.vocab - 1);
}

std::vector<TensorBytes> RandomTensors(const ModelConfig& config, uint32_t seed, DType dtype) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<TensorBytes> tensors;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    const bool vector = spec.cols == 0;
    TensorBytes tensor{spec.name, SafetensorsName(dtype), {spec.rows}, {}};
    if (!vector) tensor.shape.push_back(spec.cols);
    const float scale = vector ? 0.2f : 1.5f / std::sqrt(static_cast<float>(spec.cols));
    const size_t count = size_t(spec.rows) * (vector ? 1 : spec.cols);
    for (size_t i = 0; i < count; ++i) {
      AppendElement(tensor.bytes, (vector ? 1.0f : 0.0f) + scale * normal(random), dtype);
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

std::string Safetensors(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  return absl::StrCat(file, header, data);
}

std::string Safetensors(const std::vector<TensorBytes>& tensors) {
  std::vector<std::string> entries;
  std::string data;
  for (const TensorBytes& tensor : tensors) {
    const size_t begin = data.size();
    data += tensor.bytes;
    entries.push_back(absl::StrFormat(R"("%s":{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]})",
                                      tensor.name, tensor.dtype, absl::StrJoin(tensor.shape, ","),
                                      begin, data.size()));
  }
  std::string header = absl::StrCat("{", absl::StrJoin(entries, ","), "}");
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return Safetensors(header, data);
}

void WriteFile(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

void WriteTensors(const std::filesystem::path& dir, const std::vector<TensorBytes>& tensors,
                  int shards) {
  if (shards == 1) {
    WriteFile(dir / "model.safetensors", Safetensors(tensors));
    return;
  }
  std::vector<std::string> map;
  for (int shard = 0; shard < shards; ++shard) {
    const std::string name = absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, shards);
    std::vector<TensorBytes> part;
    for (size_t i = shard; i < tensors.size(); i += shards) {
      part.push_back(tensors[i]);
      map.push_back(absl::StrFormat(R"("%s":"%s")", tensors[i].name, name));
    }
    WriteFile(dir / name, Safetensors(part));
  }
  WriteFile(dir / "model.safetensors.index.json",
            absl::StrCat(R"({"metadata":{},"weight_map":{)", absl::StrJoin(map, ","), "}}"));
}

}  // namespace kvasir::testing
