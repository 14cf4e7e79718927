#ifndef KVASIR_TOKENIZER_JSON_FILE_H_
#define KVASIR_TOKENIZER_JSON_FILE_H_

#include <rapidjson/document.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvasir {

// A JSON file that holds one object, and errors that name file and field. Nesting of any depth
// and any bytes are safe to read.
class JsonFile {
 public:
  // `name` is the file's, for errors. INVALID_ARGUMENT where `text` is no JSON object.
  static absl::StatusOr<JsonFile> Parse(std::string_view name, std::string text);

  const rapidjson::Value& root() const { return document_; }

  // INVALID_ARGUMENT "<file>: <field>: <complaint>".
  absl::Status Error(std::string_view field, std::string_view complaint) const;
  // That `field` has to be `wanted`, such as "an array", and is not.
  absl::Status TypeError(std::string_view field, std::string_view wanted) const;

  // The member's boolean; `otherwise` where it is missing or null, an error without that.
  // REQUIRES: object.IsObject(), `field` names it.
  absl::StatusOr<bool> ReadBool(std::string_view field, const rapidjson::Value& object,
                                const char* member, std::optional<bool> otherwise = {}) const;
  // The string `type` of what has to be an object.
  absl::StatusOr<std::string_view> ReadType(std::string_view field,
                                            const rapidjson::Value& value) const;

  // The member, or nullptr where it is missing or null. REQUIRES: object.IsObject().
  static const rapidjson::Value* Find(const rapidjson::Value& object, const char* member);
  // The bytes of a string. REQUIRES: value.IsString().
  static std::string_view String(const rapidjson::Value& value) {
    return {value.GetString(), value.GetStringLength()};
  }

 private:
  std::string name_;
  std::unique_ptr<std::string> text_;  // document_'s strings lie in it.
  rapidjson::Document document_;
};

// For errors.
std::string Quoted(std::string_view text);
std::string Element(std::string_view list, size_t index);  // list[index]

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_JSON_FILE_H_
