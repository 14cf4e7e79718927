#include "tokenizer/json_file.h"

#include <rapidjson/error/en.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

absl::string_view View(std::string_view s) { return {s.data(), s.size()}; }

}  // namespace

absl::StatusOr<JsonFile> JsonFile::Parse(std::string_view name, std::string text) {
  JsonFile file;
  file.name_ = name;
  // Iterative: a file of a million brackets must not overflow the stack.
  constexpr unsigned kFlags = rapidjson::kParseIterativeFlag | rapidjson::kParseInsituFlag;
  if (text.find('\0') != text.npos) {
    return absl::InvalidArgumentError(absl::StrCat(file.name_, ": holds a NUL byte"));
  }
  if (const size_t good = WellFormedPrefix(text); good != text.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.name_, ": broken JSON at byte ", good, ": no UTF-8"));
  }
  file.text_ = std::make_unique<std::string>(std::move(text));
  rapidjson::Document& document = file.document_;
  document.ParseInsitu<kFlags>(file.text_->data());
  if (document.HasParseError()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.name_, ": broken JSON at byte ", document.GetErrorOffset(), ": ",
                     rapidjson::GetParseError_En(document.GetParseError())));
  }
  if (!document.IsObject()) {
    return absl::InvalidArgumentError(absl::StrCat(file.name_, ": must be a JSON object"));
  }
  return file;
}

absl::Status JsonFile::Error(std::string_view field, std::string_view complaint) const {
  return absl::InvalidArgumentError(absl::StrCat(name_, ": ", View(field), ": ", View(complaint)));
}

absl::Status JsonFile::TypeError(std::string_view field, std::string_view wanted) const {
  return Error(field, absl::StrCat("must be ", View(wanted)));
}

absl::StatusOr<bool> JsonFile::ReadBool(std::string_view field, const rapidjson::Value& object,
                                        const char* member, std::optional<bool> otherwise) const {
  const rapidjson::Value* value = Find(object, member);
  if (value == nullptr && otherwise.has_value()) return *otherwise;
  if (value == nullptr || !value->IsBool()) {
    return TypeError(absl::StrCat(View(field), ".", member), "true or false");
  }
  return value->GetBool();
}

absl::StatusOr<std::string_view> JsonFile::ReadType(std::string_view field,
                                                    const rapidjson::Value& value) const {
  if (!value.IsObject()) return TypeError(field, "an object");
  const rapidjson::Value* type = Find(value, "type");
  if (type == nullptr || !type->IsString()) {
    return TypeError(absl::StrCat(View(field), ".type"), "a string");
  }
  return String(*type);
}

const rapidjson::Value* JsonFile::Find(const rapidjson::Value& object, const char* member) {
  const auto found = object.FindMember(member);
  return found == object.MemberEnd() || found->value.IsNull() ? nullptr : &found->value;
}

std::string Quoted(std::string_view text) { return absl::StrCat("'", View(text), "'"); }

std::string Element(std::string_view list, size_t index) {
  return absl::StrCat(View(list), "[", index, "]");
}

}  // namespace kvasir
