#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/model/config.h"
#include "engine/model/json_fields.h"

namespace kvasir {
namespace {

// eos_token_id: one id or a list.
absl::StatusOr<std::vector<int>> EosIds(const JsonFields& fields, int vocab) {
  std::vector<int> ids;
  const rapidjson::Value* value = fields.Find("eos_token_id");
  if (value == nullptr) return ids;
  const auto add = [&](const rapidjson::Value& id) {
    if (!id.IsInt64() || id.GetInt64() < 0 || id.GetInt64() >= vocab) {
      return fields.Error("eos_token_id",
                          absl::StrCat("holds what is no id below vocab_size ", vocab));
    }
    ids.push_back(static_cast<int>(id.GetInt64()));
    return absl::OkStatus();
  };
  if (!value->IsArray()) {
    const absl::Status status = add(*value);
    if (!status.ok()) return status;
    return ids;
  }
  for (const rapidjson::Value& id : value->GetArray()) {
    const absl::Status status = add(id);
    if (!status.ok()) return status;
  }
  return ids;
}

absl::Status ReadNumber(const JsonFields& fields, const char* field, std::optional<float>& out) {
  const rapidjson::Value* value = fields.Find(field);
  if (value == nullptr) return absl::OkStatus();
  if (!value->IsNumber()) return fields.Error(field, "is not a number");
  out = static_cast<float>(value->GetDouble());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GenerationConfig> ParseGenerationConfig(std::string_view json,
                                                       std::string_view config_json,
                                                       const ModelConfig& config) {
  GenerationConfig generation;
  const bool present = !json.empty();
  const char* file = present ? "generation_config.json" : "config.json";
  absl::StatusOr<rapidjson::Document> document =
      JsonFields::Parse(file, present ? json : config_json);
  if (!document.ok()) return document.status();
  const JsonFields fields(file, *document);
  absl::StatusOr<std::vector<int>> eos = EosIds(fields, config.vocab);
  if (!eos.ok()) return eos.status();
  generation.eos_token_ids = *std::move(eos);
  if (!present) return generation;
  if (generation.eos_token_ids.empty()) {
    absl::StatusOr<GenerationConfig> fallback = ParseGenerationConfig("", config_json, config);
    if (!fallback.ok()) return fallback.status();
    generation.eos_token_ids = std::move(fallback->eos_token_ids);
  }

  SamplingOverrides& sampling = generation.sampling;
  for (const auto& [field, value] :
       {std::pair{"temperature", &sampling.temperature}, std::pair{"top_p", &sampling.top_p},
        std::pair{"min_p", &sampling.min_p},
        std::pair{"repetition_penalty", &sampling.repetition_penalty}}) {
    const absl::Status status = ReadNumber(fields, field, *value);
    if (!status.ok()) return status;
  }
  const absl::StatusOr<int64_t> top_k = fields.Integer("top_k", 0, INT32_MAX, 0);
  if (!top_k.ok()) return top_k.status();
  if (*top_k > 0) sampling.top_k = static_cast<uint32_t>(*top_k);
  const absl::StatusOr<bool> do_sample = fields.Boolean("do_sample", true);
  if (!do_sample.ok()) return do_sample.status();
  if (!*do_sample) sampling.temperature = 0.0f;
  const absl::Status valid = ValidateSampling(sampling, config.vocab);
  if (!valid.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", std::string(valid.message())));
  }
  return generation;
}

}  // namespace kvasir
