#include "tests/tokenizer/small_tokenizer.h"

#include <gtest/gtest.h>
#include <rapidjson/pointer.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

constexpr char kRules[] = R"json({
  "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
  "normalizer": {"type": "NFC"},
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "behavior": "Isolated", "invert": false, "pattern": {"Regex":
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
    {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}]},
  "post_processor": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
                     "use_regex": false},
  "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
              "use_regex": false},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": {}, "merges": []}
})json";

}  // namespace

void SetJson(rapidjson::Document& json, const std::string& pointer, const std::string& value) {
  rapidjson::Document parsed(&json.GetAllocator());
  parsed.Parse(value.c_str());
  ASSERT_FALSE(parsed.HasParseError()) << value;
  rapidjson::Pointer(pointer.c_str()).Set(json, parsed);
}

std::string AddedTokenJson(uint32_t id, const std::string& content,
                           const std::vector<std::string>& flags) {
  rapidjson::Document json(rapidjson::kObjectType);
  auto& allocator = json.GetAllocator();
  json.AddMember("id", id, allocator);
  json.AddMember("content", rapidjson::Value(content.c_str(), allocator), allocator);
  for (const char* flag : {"special", "lstrip", "rstrip", "single_word", "normalized"}) {
    json.AddMember(rapidjson::StringRef(flag), false, allocator);
  }
  for (const std::string& flag : flags) json[flag.c_str()].SetBool(true);
  return ToText(json);
}

rapidjson::Document SmallTokenizerJson() {
  rapidjson::Document json;
  json.Parse(kRules);
  EXPECT_FALSE(json.HasParseError());
  auto& allocator = json.GetAllocator();
  rapidjson::Value& vocabulary = json["model"]["vocab"];
  uint32_t id = 0;
  const auto add = [&](const std::string& token) {
    vocabulary.AddMember(rapidjson::Value(token.c_str(), allocator), rapidjson::Value(id++),
                         allocator);
  };
  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    AppendUtf8(AlphabetCharacter(static_cast<unsigned char>(byte)), token);
    add(token);
  }
  for (const char* token : {"he", "ll", "hell", "hello", "Ġhello"}) add(token);
  SetJson(json, "/model/merges",
          R"([["h","e"], ["l","l"], ["he","ll"], ["hell","o"], ["Ġ","hello"]])");
  SetJson(json, "/added_tokens",
          "[" + AddedTokenJson(kSmallEnd, "<|end|>", {"special"}) + "," +
              AddedTokenJson(kSmallTool, "<tool>") + "]");
  return json;
}

std::string ToText(const rapidjson::Document& json) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  json.Accept(writer);
  return {buffer.GetString(), buffer.GetSize()};
}

std::unique_ptr<Tokenizer> SmallTokenizer(
    const std::vector<std::pair<std::string, std::string>>& edits,
    const std::string& tokenizer_config) {
  rapidjson::Document json = SmallTokenizerJson();
  for (const auto& [pointer, value] : edits) SetJson(json, pointer, value);
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      Tokenizer::FromJson(ToText(json), tokenizer_config);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

}  // namespace kvasir
