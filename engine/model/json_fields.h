#ifndef KVASIR_ENGINE_MODEL_JSON_FIELDS_H_
#define KVASIR_ENGINE_MODEL_JSON_FIELDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rapidjson/document.h"

namespace kvasir {

// All of a JSON string, zero bytes included. REQUIRES: value.IsString().
inline std::string_view TextOf(const rapidjson::Value& value) {
  return {value.GetString(), value.GetStringLength()};
}

// A name that an object has twice: readers differ in which one they believe.
std::optional<std::string> FindDuplicate(const rapidjson::Value& object);

// A JSON object whose errors name file and field: "config.json: field 'x': ...".
class JsonFields {
 public:
  // INVALID_ARGUMENT where the text is no JSON object, or has a field twice.
  static absl::StatusOr<rapidjson::Document> Parse(std::string_view file, std::string_view json);

  JsonFields(std::string_view file, const rapidjson::Value& object)
      : JsonFields(file, "", object) {}

  absl::Status Error(std::string_view field, std::string_view what) const;

  // Null where the field is absent or null.
  const rapidjson::Value* Find(const char* field) const;
  // The first of two spellings.
  const rapidjson::Value* Find(const char* field, const char* other) const;

  // A whole number from low to high; `fallback` where absent, an error where there is none.
  absl::StatusOr<int64_t> Integer(const char* field, int64_t low, int64_t high,
                                  std::optional<int64_t> fallback = std::nullopt) const;
  // A number from low to high; an error where absent.
  absl::StatusOr<double> Number(const char* field, double low, double high) const;
  absl::StatusOr<bool> Boolean(const char* field, bool fallback) const;
  // A string, or nothing where absent.
  absl::StatusOr<std::optional<std::string_view>> String(const char* field) const;
  // An object, whose fields are named "field.x", or nothing where absent.
  absl::StatusOr<std::optional<JsonFields>> Object(const char* field) const;

 private:
  JsonFields(std::string_view file, std::string prefix, const rapidjson::Value& object)
      : file_(file), prefix_(std::move(prefix)), object_(&object) {}

  std::string file_;
  std::string prefix_;  // of field names: "" or "field."
  const rapidjson::Value* object_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_MODEL_JSON_FIELDS_H_
