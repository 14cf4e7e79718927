#include "engine/model/json_fields.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "rapidjson/error/en.h"

namespace kvasir {
namespace {

std::string Message(std::string_view file, std::string_view what) {
  return absl::StrCat(std::string(file), ": ", std::string(what));
}

}  // namespace

std::optional<std::string> FindDuplicate(const rapidjson::Value& object) {
  std::set<std::string_view> names;
  for (const auto& member : object.GetObject()) {
    if (!names.insert(TextOf(member.name)).second) return std::string(TextOf(member.name));
  }
  return std::nullopt;
}

absl::StatusOr<rapidjson::Document> JsonFields::Parse(std::string_view file,
                                                      std::string_view json) {
  rapidjson::Document document;
  // Iterative: a hostile file must not be able to overflow the stack.
  document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(
      json.data(), json.size());
  if (document.HasParseError()) {
    return absl::InvalidArgumentError(
        Message(file, absl::StrCat("broken JSON at byte ", document.GetErrorOffset(), ": ",
                                   rapidjson::GetParseError_En(document.GetParseError()))));
  }
  if (!document.IsObject()) {
    return absl::InvalidArgumentError(Message(file, "is not a JSON object"));
  }
  if (const std::optional<std::string> name = FindDuplicate(document)) {
    return JsonFields(file, document).Error(*name, "is there twice");
  }
  return document;
}

absl::Status JsonFields::Error(std::string_view field, std::string_view what) const {
  return absl::InvalidArgumentError(Message(
      file_, absl::StrCat("field '", prefix_, std::string(field), "': ", std::string(what))));
}

const rapidjson::Value* JsonFields::Find(const char* field) const {
  const auto it = object_->FindMember(field);
  return it == object_->MemberEnd() || it->value.IsNull() ? nullptr : &it->value;
}

const rapidjson::Value* JsonFields::Find(const char* field, const char* other) const {
  const rapidjson::Value* value = Find(field);
  return value != nullptr ? value : Find(other);
}

absl::StatusOr<int64_t> JsonFields::Integer(const char* field, int64_t low, int64_t high,
                                            std::optional<int64_t> fallback) const {
  const rapidjson::Value* value = Find(field);
  if (value == nullptr) {
    if (fallback) return *fallback;
    return Error(field, "is missing");
  }
  if (!value->IsNumber()) return Error(field, "is not a number");
  if (!value->IsInt64() || value->GetInt64() < low || value->GetInt64() > high) {
    return Error(field,
                 absl::StrCat(value->GetDouble(), " is no whole number from ", low, " to ", high));
  }
  return value->GetInt64();
}

absl::StatusOr<double> JsonFields::Number(const char* field, double low, double high) const {
  const rapidjson::Value* value = Find(field);
  if (value == nullptr) return Error(field, "is missing");
  if (!value->IsNumber()) return Error(field, "is not a number");
  const double number = value->GetDouble();
  if (!(number >= low && number <= high)) {
    return Error(field, absl::StrCat(number, " is not within ", low, " to ", high));
  }
  return number;
}

absl::StatusOr<bool> JsonFields::Boolean(const char* field, bool fallback) const {
  const rapidjson::Value* value = Find(field);
  if (value == nullptr) return fallback;
  if (!value->IsBool()) return Error(field, "is not true or false");
  return value->GetBool();
}

absl::StatusOr<std::optional<std::string_view>> JsonFields::String(const char* field) const {
  const rapidjson::Value* value = Find(field);
  if (value == nullptr) return std::optional<std::string_view>();
  if (!value->IsString()) return Error(field, "is not a string");
  return TextOf(*value);
}

absl::StatusOr<std::optional<JsonFields>> JsonFields::Object(const char* field) const {
  const rapidjson::Value* value = Find(field);
  if (value == nullptr) return std::optional<JsonFields>();
  if (!value->IsObject()) return Error(field, "is not an object");
  JsonFields nested(file_, absl::StrCat(prefix_, field, "."), *value);
  if (const std::optional<std::string> name = FindDuplicate(*value)) {
    return nested.Error(*name, "is there twice");
  }
  return nested;
}

}  // namespace kvasir
