#include "tokenizer/tokenizer_rules.h"

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tokenizer/json_file.h"

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

absl::StatusOr<SplitRule> ReadSplit(const JsonFile& file, const std::string& field,
                                    const Value& split) {
  absl::StatusOr<std::string_view> type = file.ReadType(field, split);
  if (!type.ok()) return type.status();
  if (*type != "Split") return Refuse(file, absl::StrCat(field, ".type"), *type, "'Split'");
  const Value* pattern = JsonFile::Find(split, "pattern");
  const Value* regex =
      pattern != nullptr && pattern->IsObject() ? JsonFile::Find(*pattern, "Regex") : nullptr;
  std::optional<SplitRule> rule;
  for (const SplitRule each : {SplitRule::kQwen2, SplitRule::kLlama3, SplitRule::kGpt2}) {
    if (regex != nullptr && regex->IsString() && JsonFile::String(*regex) == ExpressionOf(each)) {
      rule = each;
    }
  }
  if (!rule) {
    return file.Error(
        absl::StrCat(field, ".pattern"),
        "not the split rule of Qwen2 and Qwen3, of Llama 3 or of GPT-2, the ones implemented");
  }
  // Every text is wholly made of matches, so that what is between them is nothing.
  const Value* behavior = JsonFile::Find(split, "behavior");
  absl::StatusOr<bool> invert = file.ReadBool(field, split, "invert", false);
  if (!invert.ok()) return invert.status();
  const std::string_view wanted = *invert ? "Removed" : "Isolated";
  if (behavior == nullptr || !behavior->IsString() || JsonFile::String(*behavior) != wanted) {
    return file.Error(
        absl::StrCat(field, ".behavior"),
        absl::StrCat("only 'Isolated', or 'Removed' where .invert is true, is ", "implemented"));
  }
  return *rule;
}

// 'ByteLevel' alone splits by the rule of GPT-2.
absl::Status ReadByteLevelSplit(const JsonFile& file, const Value& value, TokenizerRules& rules) {
  absl::StatusOr<bool> use_regex = file.ReadBool("pre_tokenizer", value, "use_regex", true);
  if (!use_regex.ok()) return use_regex.status();
  if (!*use_regex) {
    return file.Error("pre_tokenizer.use_regex",
                      "false is implemented only behind a 'Split' in a 'Sequence'");
  }
  absl::StatusOr<bool> prefix_space = file.ReadBool("pre_tokenizer", value, "add_prefix_space");
  if (!prefix_space.ok()) return prefix_space.status();
  rules.split = SplitRule::kGpt2;
  rules.prefix_space = *prefix_space;
  return absl::OkStatus();
}

absl::Status ReadPreTokenizer(const JsonFile& file, TokenizerRules& rules) {
  constexpr char kImplemented[] = "'ByteLevel' or a 'Sequence' of 'Split' and 'ByteLevel'";
  const Value* value = JsonFile::Find(file.root(), "pre_tokenizer");
  if (value == nullptr) {
    return file.TypeError("pre_tokenizer", absl::StrCat("an object of type ", kImplemented));
  }
  absl::StatusOr<std::string_view> type = file.ReadType("pre_tokenizer", *value);
  if (!type.ok()) return type.status();
  if (*type == "ByteLevel") return ReadByteLevelSplit(file, *value, rules);
  if (*type != "Sequence") return Refuse(file, "pre_tokenizer.type", *type, kImplemented);
  const std::string list = "pre_tokenizer.pretokenizers";
  const Value* parts = JsonFile::Find(*value, "pretokenizers");
  if (parts == nullptr || !parts->IsArray() || parts->Size() != 2) {
    return file.TypeError(list, "an array of 'Split' and 'ByteLevel'");
  }
  absl::StatusOr<SplitRule> split = ReadSplit(file, Element(list, 0), (*parts)[0]);
  if (!split.ok()) return split.status();
  rules.split = *split;
  const Value& byte_level = (*parts)[1];
  const std::string field = Element(list, 1);
  if (absl::Status status = CheckByteLevel(file, field, &byte_level); !status.ok()) return status;
  for (const char* member : {"add_prefix_space", "use_regex"}) {
    absl::Status status = CheckFalse(file, field, byte_level, member, true);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// Post-processors add tokens around a whole text, which Encode leaves to its caller, or move
// offsets. Others than these may do more.
absl::Status CheckPostProcessor(const JsonFile& file, const std::string& field,
                                const Value& value) {
  absl::StatusOr<std::string_view> type = file.ReadType(field, value);
  if (!type.ok()) return type.status();
  for (const char* known :
       {"ByteLevel", "TemplateProcessing", "RobertaProcessing", "BertProcessing"}) {
    if (*type == known) return absl::OkStatus();
  }
  // A sequence in a sequence is written by nobody.
  const Value* parts = JsonFile::Find(value, "processors");
  if (*type != "Sequence" || field != "post_processor" || parts == nullptr || !parts->IsArray()) {
    return Refuse(file, absl::StrCat(field, ".type"), *type,
                  "'ByteLevel', 'TemplateProcessing', 'RobertaProcessing', 'BertProcessing' or a "
                  "'Sequence' of them");
  }
  for (rapidjson::SizeType i = 0; i < parts->Size(); ++i) {
    absl::Status status =
        CheckPostProcessor(file, Element("post_processor.processors", i), (*parts)[i]);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadModel(const JsonFile& file, TokenizerRules& rules) {
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
  if (absl::Status status = CheckFalse(file, "model", *model, "byte_fallback", false);
      !status.ok()) {
    return status;
  }
  absl::StatusOr<bool> ignore_merges = file.ReadBool("model", *model, "ignore_merges", false);
  if (!ignore_merges.ok()) return ignore_merges.status();
  rules.ignore_merges = *ignore_merges;
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
  TokenizerRules rules;
  absl::StatusOr<bool> nfc = ReadNormalizer(file);
  if (!nfc.ok()) return nfc.status();
  rules.nfc = *nfc;
  if (absl::Status status = ReadPreTokenizer(file, rules); !status.ok()) return status;
  if (const Value* post = JsonFile::Find(file.root(), "post_processor")) {
    absl::Status status = CheckPostProcessor(file, "post_processor", *post);
    if (!status.ok()) return status;
  }
  const Value* decoder = JsonFile::Find(file.root(), "decoder");
  if (absl::Status status = CheckByteLevel(file, "decoder", decoder); !status.ok()) return status;
  if (absl::Status status = ReadModel(file, rules); !status.ok()) return status;
  return rules;
}

}  // namespace kvasir
