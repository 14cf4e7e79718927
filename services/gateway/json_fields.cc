#include "services/gateway/json_fields.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/error.h"

namespace kvasir::gateway {
namespace {

constexpr size_t kMostOfName = 100;

}  // namespace

absl::Status FieldError(std::string_view field, std::string_view what) {
  const std::string name(field.substr(0, kMostOfName));
  return MakeError(Reason::kInvalidField, absl::StrCat(name, ": ", std::string(what)),
                   {{"field", name}});
}

std::string JsonFields::PathOf(std::string_view name) const {
  return path_.empty() ? std::string(name) : absl::StrCat(path_, ".", std::string(name));
}

void JsonFields::Fail(std::string_view name, std::string_view what) {
  if (status_.ok()) status_ = FieldError(PathOf(name), what);
}

const rapidjson::Value* JsonFields::Find(const char* name) {
  known_.insert(name);
  const auto member = object_.FindMember(name);
  if (!ok() || member == object_.MemberEnd() || member->value.IsNull()) return nullptr;
  return &member->value;
}

std::optional<std::string> JsonFields::String(const char* name) {
  const rapidjson::Value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (value->IsString()) return std::string(value->GetString(), value->GetStringLength());
  Fail(name, "is no string");
  return std::nullopt;
}

std::optional<bool> JsonFields::Bool(const char* name) {
  const rapidjson::Value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (value->IsBool()) return value->GetBool();
  Fail(name, "is neither true nor false");
  return std::nullopt;
}

std::optional<double> JsonFields::Number(const char* name, double least, double most) {
  const rapidjson::Value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->IsNumber()) {
    Fail(name, "is no number");
  } else if (const double number = value->GetDouble(); number >= least && number <= most) {
    return number;
  } else {
    Fail(name, absl::StrCat(number, " is not within ", least, " to ", most));
  }
  return std::nullopt;
}

std::optional<int64_t> JsonFields::Integer(const char* name, int64_t least, int64_t most) {
  const rapidjson::Value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->IsInt64()) {
    Fail(name, "is no whole number");
  } else if (const int64_t number = value->GetInt64(); number >= least && number <= most) {
    return number;
  } else {
    Fail(name, absl::StrCat(number, " is not within ", least, " to ", most));
  }
  return std::nullopt;
}

const rapidjson::Value* JsonFields::Array(const char* name) {
  const rapidjson::Value* value = Find(name);
  if (value == nullptr || value->IsArray()) return value;
  Fail(name, "is no array");
  return nullptr;
}

const rapidjson::Value* JsonFields::Object(const char* name) {
  const rapidjson::Value* value = Find(name);
  if (value == nullptr || value->IsObject()) return value;
  Fail(name, "is no object");
  return nullptr;
}

void JsonFields::Ignore(std::initializer_list<const char*> names) {
  known_.insert(names.begin(), names.end());
}

absl::Status JsonFields::Finish() {
  for (const auto& member : object_.GetObject()) {
    const std::string_view name(member.name.GetString(), member.name.GetStringLength());
    if (!member.value.IsNull() && !known_.contains(name)) Fail(name, "is not supported");
  }
  return status_;
}

}  // namespace kvasir::gateway
