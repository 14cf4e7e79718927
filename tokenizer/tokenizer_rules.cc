#include "tokenizer/tokenizer_rules.h"

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tokenizer/pretokenizer.h"

namespace kvasir {
namespace {

using rapidjson::Value;

absl::Status Refuse(const JsonFile& file, std::string_view field, std::string_view type,
                    const char* implemented) {
  return file.Error(field,
                    absl::StrCat(Quoted(type), " is not implemented, only ", implemented, " is"));
}

// That a boolean, `otherwise` where it is missing, is false: the only value implemented.
absl::Status CheckFalse(const JsonFile& file, std::string_view field, const Value& object,
                        const char* member, bool otherwise) {
  absl::StatusOr<bool> value = file.ReadBool(field, object, member, otherwise);
  if (!value.ok()) return value.status();
  if (!*value) return absl::OkStatus();
  return file.Error(absl::StrCat(std::string(field), ".", member),
                    "true is not implemented, must be false");
}

absl::StatusOr<bool> ReadNormalizer(const JsonFile& file) {
  const Value* normalizer = JsonFile::Find(file.root(), "normalizer");
  if (normalizer == nullptr) return false;
  absl::StatusOr<std::string_view> type = file.ReadType("normalizer", *normalizer);
  if (!type.ok()) return type.status();
  if (*type != "NFC") return Refuse(file, "normalizer.type", *type, "'NFC'");
  return true;
}

absl::Status CheckByteLevel(const JsonFile& file, const std::string& field, const Value* value) {
  if (value == nullptr) return file.TypeError(field, "an object of type 'ByteLevel'");
  absl::StatusOr<std::string_view> type = file.ReadType(field, *value);
  if (!type.ok()) return type.status();
  if (*type != "ByteLevel") return Refuse(file, absl::StrCat(field, ".type"), *type, "'ByteLevel'");
  return absl::OkStatus();
}

absl::Status CheckSplit(const JsonFile& file, const std::string& field, const Value& split) {
  absl::StatusOr<std::string_view> type = file.ReadType(field, split);
  if (!type.ok()) return type.status();
  if (*type != "Split") return Refuse(file, absl::StrCat(field, ".type"), *type, "'Split'");
  const Value* pattern = JsonFile::Find(split, "pattern");
  const Value* regex =
      pattern != nullptr && pattern->IsObject() ? JsonFile::Find(*pattern, "Regex") : nullptr;
  if (regex == nullptr || !regex->IsString() || JsonFile::String(*regex) != kQwenSplitRule) {
    return file.Error(absl::StrCat(field, ".pattern"),
                      "not the split rule of Qwen2 and Qwen3, the only one implemented");
  }
  const Value* behavior = JsonFile::Find(split, "behavior");
  if (behavior == nullptr || !behavior->IsString() || JsonFile::String(*behavior) != "Isolated") {
    return file.Error(absl::StrCat(field, ".behavior"), "only 'Isolated' is implemented");
  }
  return CheckFalse(file, field, split, "invert", false);
}

absl::Status CheckPreTokenizer(const JsonFile& file) {
  const Value* value = JsonFile::Find(file.root(), "pre_tokenizer");
  if (value == nullptr) return file.TypeError("pre_tokenizer", "an object of type 'Sequence'");
  absl::StatusOr<std::string_view> type = file.ReadType("pre_tokenizer", *value);
  if (!type.ok()) return type.status();
  if (*type != "Sequence") {
    return Refuse(file, "pre_tokenizer.type", *type, "'Sequence' of 'Split' and 'ByteLevel'");
  }
  const std::string list = "pre_tokenizer.pretokenizers";
  const Value* parts = JsonFile::Find(*value, "pretokenizers");
  if (parts == nullptr || !parts->IsArray() || parts->Size() != 2) {
    return file.TypeError(list, "an array of 'Split' and 'ByteLevel'");
  }
  if (absl::Status status = CheckSplit(file, Element(list, 0), (*parts)[0]); !status.ok()) {
    return status;
  }
  const Value& byte_level = (*parts)[1];
  const std::string field = Element(list, 1);
  if (absl::Status status = CheckByteLevel(file, field, &byte_level); !status.ok()) return status;
  for (const char* member : {"add_prefix_space", "use_regex"}) {
    absl::Status status = CheckFalse(file, field, byte_level, member, true);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckModel(const JsonFile& file) {
  const Value* model = JsonFile::Find(file.root(), "model");
  if (model == nullptr || !model->IsObject()) return file.TypeError("model", "an object");
  if (const Value* type = JsonFile::Find(*model, "type")) {
    if (!type->IsString()) return file.TypeError("model.type", "a string");
    if (JsonFile::String(*type) != "BPE") {
      return Refuse(file, "model.type", JsonFile::String(*type), "'BPE'");
    }
  }
  if (const Value* dropout = JsonFile::Find(*model, "dropout")) {
    if (!dropout->IsNumber() || dropout->GetDouble() != 0) {
      return file.Error("model.dropout", "not implemented, must be null");
    }
  }
  for (const char* member : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Value* affix = JsonFile::Find(*model, member);
    if (affix != nullptr && (!affix->IsString() || affix->GetStringLength() != 0)) {
      return file.Error(absl::StrCat("model.", member), "not implemented, must be empty");
    }
  }
  // unk_token and fuse_unk say what becomes of a byte without a token: no such file is read.
  for (const char* member : {"byte_fallback", "ignore_merges"}) {
    absl::Status status = CheckFalse(file, "model", *model, member, false);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerRules> ReadTokenizerRules(const JsonFile& file) {
  if (const Value* version = JsonFile::Find(file.root(), "version")) {
    if (!version->IsString() || JsonFile::String(*version) != "1.0") {
      return file.Error("version", "only '1.0' is implemented");
    }
  }
  for (const char* field : {"truncation", "padding"}) {
    if (JsonFile::Find(file.root(), field) != nullptr) {
      return file.Error(field, "not implemented, must be null");
    }
  }
  absl::StatusOr<bool> nfc = ReadNormalizer(file);
  if (!nfc.ok()) return nfc.status();
  if (absl::Status status = CheckPreTokenizer(file); !status.ok()) return status;
  // Post-processors add tokens or move offsets; this one leaves ids alone.
  if (const Value* post = JsonFile::Find(file.root(), "post_processor")) {
    if (absl::Status status = CheckByteLevel(file, "post_processor", post); !status.ok()) {
      return status;
    }
  }
  const Value* decoder = JsonFile::Find(file.root(), "decoder");
  if (absl::Status status = CheckByteLevel(file, "decoder", decoder); !status.ok()) return status;
  if (absl::Status status = CheckModel(file); !status.ok()) return status;
  return TokenizerRules{.nfc = *nfc};
}

}  // namespace kvasir
