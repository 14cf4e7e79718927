#ifndef KVASIR_ENGINE_MODEL_JSON_FIELDS_H_
#define KVASIR_ENGINE_MODEL_JSON_FIELDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rapidjson/document.h"

namespace kvasir {

// A JSON object whose errors name file and field: "config.json: field 'x': ...".
class JsonFields {
 public:
  // INVALID_ARGUMENT where the text is no JSON object.
  static absl::StatusOr<rapidjson::Document> Parse(std::string_view file, std::string_view json);

  JsonFields(std::string_view file, const rapidjson::Value& object)
      : file_(file), object_(&object) {}

  absl::Status Error(std::string_view field, std::string_view what) const;

  // Null where the field is absent or null.
  const rapidjson::Value* Find(const char* field) const;
  // The first of two spellings.
  const rapidjson::Value* Find(const char* field, const char* other) const;

  // A whole number from low to high; `fallback` where absent, an error where there is none.
  absl::StatusOr<int64_t> Integer(const char* field, int64_t low, int64_t high,
                                  std::optional<int64_t> fallback = std::nullopt) const;
  // A finite number over 0.
  absl::StatusOr<double> Positive(const char* field) const;
  absl::StatusOr<bool> Boolean(const char* field, bool fallback) const;

 private:
  std::string file_;
  const rapidjson::Value* object_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_MODEL_JSON_FIELDS_H_
