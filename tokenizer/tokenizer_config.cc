#include "tokenizer/tokenizer_config.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tokenizer/json_file.h"
#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

using rapidjson::Value;

absl::StatusOr<std::string> ReadString(const JsonFile& file, std::string_view field,
                                       const Value& value) {
  if (!value.IsString()) return file.TypeError(field, "a string");
  const std::string_view text = JsonFile::String(value);
  if (WellFormedPrefix(text) != text.size()) return file.TypeError(field, "well-formed UTF-8");
  return std::string(text);
}

// A string, or an object whose "content" is one (an AddedToken as transformers writes it).
absl::StatusOr<std::string> ReadSpecialToken(const JsonFile& file, const char* member) {
  const Value* value = JsonFile::Find(file.root(), member);
  if (value == nullptr) return std::string();
  if (!value->IsObject()) return ReadString(file, member, *value);
  const Value* content = JsonFile::Find(*value, "content");
  const std::string field = absl::StrCat(member, ".content");
  if (content == nullptr) return file.TypeError(field, "a string");
  return ReadString(file, field, *content);
}

// A string, or a list of {"name": ..., "template": ...}.
absl::StatusOr<std::string> ReadChatTemplate(const JsonFile& file) {
  const Value* value = JsonFile::Find(file.root(), "chat_template");
  if (value == nullptr) return std::string();
  if (!value->IsArray()) return ReadString(file, "chat_template", *value);
  for (rapidjson::SizeType i = 0; i < value->Size(); ++i) {
    const std::string field = Element("chat_template", i);
    const Value& entry = (*value)[i];
    if (!entry.IsObject()) return file.TypeError(field, "an object");
    const Value* name = JsonFile::Find(entry, "name");
    const Value* source = JsonFile::Find(entry, "template");
    if (name == nullptr || !name->IsString() || source == nullptr) {
      return file.TypeError(field, "an object with a name and a template");
    }
    if (JsonFile::String(*name) == "default") {
      return ReadString(file, absl::StrCat(field, ".template"), *source);
    }
  }
  return std::string();
}

}  // namespace

absl::StatusOr<TokenizerConfig> ParseTokenizerConfig(std::string_view text) {
  absl::StatusOr<JsonFile> file = JsonFile::Parse("tokenizer_config.json", std::string(text));
  if (!file.ok()) return file.status();
  TokenizerConfig config;
  absl::StatusOr<std::string> chat_template = ReadChatTemplate(*file);
  if (!chat_template.ok()) return chat_template.status();
  config.chat_template = *std::move(chat_template);
  const std::pair<const char*, std::string*> tokens[] = {{"bos_token", &config.special_tokens.bos},
                                                         {"eos_token", &config.special_tokens.eos},
                                                         {"pad_token", &config.special_tokens.pad}};
  for (const auto& [member, token] : tokens) {
    absl::StatusOr<std::string> read = ReadSpecialToken(*file, member);
    if (!read.ok()) return read.status();
    *token = *std::move(read);
  }
  if (const Value* name = JsonFile::Find(file->root(), "name_or_path")) {
    absl::StatusOr<std::string> read = ReadString(*file, "name_or_path", *name);
    if (!read.ok()) return read.status();
    config.name_or_path = *std::move(read);
  }
  return config;
}

}  // namespace kvasir
