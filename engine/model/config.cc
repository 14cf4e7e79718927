#include "engine/model/config.h"

#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/model/json_fields.h"

namespace kvasir {
namespace {

constexpr char kConfigFile[] = "config.json";

// A switch that must be off: what it turns on is not implemented.
absl::Status MustBeOff(const JsonFields& fields, const char* field) {
  const absl::StatusOr<bool> value = fields.Boolean(field, false);
  if (!value.ok()) return value.status();
  if (*value) return fields.Error(field, "true is not implemented");
  return absl::OkStatus();
}

absl::Status MustBe(const JsonFields& fields, const char* field, std::string_view wanted) {
  const absl::StatusOr<std::optional<std::string_view>> value = fields.String(field);
  if (!value.ok()) return value.status();
  if (!value->has_value() || **value == wanted) return absl::OkStatus();
  return fields.Error(field, absl::StrCat("'", std::string(**value), "' is not implemented; only '",
                                          std::string(wanted), "' is"));
}

absl::Status MustBeOne(const JsonFields& fields, const char* field) {
  const rapidjson::Value* value = fields.Find(field);
  if (value == nullptr || (value->IsNumber() && value->GetDouble() == 1.0)) return absl::OkStatus();
  return fields.Error(field, "only 1 is implemented");
}

// rope_theta in either spelling; every scaling is refused by name. As in transformers, one within
// an object goes before one beside it.
absl::StatusOr<double> RopeTheta(const JsonFields& fields) {
  // Below 1 frequencies grow without bound; the upper end is a thousand times that of any Qwen3.
  constexpr double kLow = 1, kHigh = 1e10;
  std::optional<JsonFields> place;
  for (const char* field : {"rope_scaling", "rope_parameters"}) {
    const absl::StatusOr<std::optional<JsonFields>> rope = fields.Object(field);
    if (!rope.ok()) return rope.status();
    if (!rope->has_value()) continue;
    absl::Status status = MustBe(**rope, "rope_type", "default");
    if (status.ok()) status = MustBe(**rope, "type", "default");
    if (status.ok()) status = MustBeOne(**rope, "factor");
    if (status.ok()) status = MustBeOne(**rope, "partial_rotary_factor");
    if (!status.ok()) return status;
    if (!place && (*rope)->Find("rope_theta") != nullptr) place = **rope;
  }
  return (place ? *place : fields).Number("rope_theta", kLow, kHigh);
}

absl::StatusOr<DType> CheckpointDType(const JsonFields& fields) {
  const char* field = fields.Find("dtype") != nullptr ? "dtype" : "torch_dtype";
  const absl::StatusOr<std::optional<std::string_view>> name = fields.String(field);
  if (!name.ok()) return name.status();
  if (!name->has_value() || **name == "bfloat16") return DType::kBf16;
  if (**name == "float16") return DType::kF16;
  if (**name == "float32") return DType::kF32;
  return fields.Error(field, absl::StrCat("'", std::string(**name), "' is not implemented"));
}

absl::Status RefuseWhatIsNotImplemented(const JsonFields& fields) {
  if (fields.Find("model_type") == nullptr) return fields.Error("model_type", "is missing");
  absl::Status status = MustBe(fields, "model_type", "qwen3");
  if (status.ok()) status = MustBe(fields, "hidden_act", "silu");
  for (const char* field : {"attention_bias", "mlp_bias", "use_sliding_window"}) {
    if (status.ok()) status = MustBeOff(fields, field);
  }
  if (status.ok()) status = MustBeOne(fields, "partial_rotary_factor");
  if (!status.ok()) return status;
  if (fields.Find("quantization_config") != nullptr) {
    return fields.Error("quantization_config", "is not implemented");
  }
  if (const rapidjson::Value* types = fields.Find("layer_types")) {
    if (!types->IsArray()) return fields.Error("layer_types", "is not a list");
    for (const rapidjson::Value& type : types->GetArray()) {
      if (!type.IsString() || TextOf(type) != "full_attention") {
        return fields.Error("layer_types", "only 'full_attention' is implemented");
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json) {
  absl::StatusOr<rapidjson::Document> document = JsonFields::Parse(kConfigFile, json);
  if (!document.ok()) return document.status();
  const JsonFields fields(kConfigFile, *document);
  const absl::Status refused = RefuseWhatIsNotImplemented(fields);
  if (!refused.ok()) return refused;

  ModelConfig config;
  struct Size {
    const char* field;
    int* value;
    int64_t high;
  };
  // Bounds far beyond any Qwen3, so that products of sizes stay within 63 bits.
  for (const Size& size :
       {Size{"num_hidden_layers", &config.layers, 1024},
        Size{"hidden_size", &config.hidden, 1 << 17},
        Size{"intermediate_size", &config.ffn, 1 << 19}, Size{"vocab_size", &config.vocab, 1 << 22},
        Size{"num_attention_heads", &config.heads, 1024}}) {
    const absl::StatusOr<int64_t> value = fields.Integer(size.field, 1, size.high);
    if (!value.ok()) return value.status();
    *size.value = static_cast<int>(*value);
  }
  const absl::StatusOr<int64_t> kv_heads = fields.Integer("num_key_value_heads", 1, config.heads);
  if (!kv_heads.ok()) return kv_heads.status();
  config.kv_heads = static_cast<int>(*kv_heads);
  if (config.heads % config.kv_heads != 0) {
    return fields.Error("num_key_value_heads", absl::StrCat(config.kv_heads, " does not divide ",
                                                            config.heads, " attention heads"));
  }
  // transformers' Qwen3Config has 128, whatever hidden_size is.
  const absl::StatusOr<int64_t> head_dim = fields.Integer("head_dim", 2, 1024, 128);
  if (!head_dim.ok()) return head_dim.status();
  config.head_dim = static_cast<int>(*head_dim);
  if (config.head_dim % 2 != 0) {
    return fields.Error("head_dim", absl::StrCat(config.head_dim, " is odd"));
  }
  const absl::StatusOr<int64_t> positions =
      fields.Integer("max_position_embeddings", 1, 1 << 24, 32768);
  if (!positions.ok()) return positions.status();
  config.max_positions = *positions;
  const absl::StatusOr<double> theta = RopeTheta(fields);
  if (!theta.ok()) return theta.status();
  config.rope_theta = *theta;
  // A float must hold it, its square root too.
  const absl::StatusOr<double> eps = fields.Number("rms_norm_eps", 1e-30, 1);
  if (!eps.ok()) return eps.status();
  config.norm_eps = static_cast<float>(*eps);
  const absl::StatusOr<bool> tied = fields.Boolean("tie_word_embeddings", false);
  if (!tied.ok()) return tied.status();
  config.tied_embeddings = *tied;
  const absl::StatusOr<DType> dtype = CheckpointDType(fields);
  if (!dtype.ok()) return dtype.status();
  config.dtype = *dtype;
  return config;
}

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::NotFoundError(absl::StrCat(path.string(), ": no such file"));
  }
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return absl::InvalidArgumentError(absl::StrCat(path.string(), ": cannot be read"));
  return std::move(text).str();
}

}  // namespace kvasir
