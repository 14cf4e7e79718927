// Every way in which a tokenizer.json or tokenizer_config.json can be wrong is an error that names
// file and field.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidjson/pointer.h>

#include <string>
#include <vector>

#include "tests/tokenizer/small_tokenizer.h"

namespace kvasir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void ExpectError(const absl::StatusOr<std::unique_ptr<Tokenizer>>& tokenizer,
                 const std::string& message) {
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr(message));
}

struct Case {
  const char* pointer;
  const char* value;
  const char* message;
};

TEST(TokenizerJson, WrongFieldsAreNamed) {
  const Case cases[] = {
      {"/version", "\"2.0\"", "version: only '1.0'"},
      {"/truncation", "{}", "truncation: not implemented"},
      {"/padding", "{}", "padding: not implemented"},
      {"/normalizer", "7", "normalizer: must be an object"},
      {"/normalizer/type", "7", "normalizer.type: must be a string"},
      {"/normalizer/type", "\"NFKC\"", "normalizer.type: 'NFKC' is not implemented"},
      {"/pre_tokenizer", "null", "pre_tokenizer: must be an object"},
      {"/pre_tokenizer/type", "\"Whitespace\"", "pre_tokenizer.type: 'Whitespace'"},
      {"/pre_tokenizer/pretokenizers", "[]", "pre_tokenizer.pretokenizers: must be an array"},
      {"/pre_tokenizer/pretokenizers/0", "[]", "pre_tokenizer.pretokenizers[0]: must be an object"},
      {"/pre_tokenizer/pretokenizers/0/type", "\"Digits\"", "pretokenizers[0].type: 'Digits'"},
      {"/pre_tokenizer/pretokenizers/0/pattern/Regex", "\"\\\\s+\"", "pretokenizers[0].pattern"},
      {"/pre_tokenizer/pretokenizers/0/pattern", "{\"String\":\"x\"}", "pretokenizers[0].pattern"},
      {"/pre_tokenizer/pretokenizers/0/pattern", "7", "pretokenizers[0].pattern"},
      {"/pre_tokenizer/pretokenizers/0/behavior", "\"Removed\"", "pretokenizers[0].behavior"},
      {"/pre_tokenizer/pretokenizers/0/invert", "true", "pretokenizers[0].behavior: only"},
      {"/pre_tokenizer/pretokenizers/0/invert", "1", "pretokenizers[0].invert: must be true or"},
      {"/pre_tokenizer/pretokenizers/1/type", "\"Metaspace\"", "pretokenizers[1].type"},
      {"/pre_tokenizer/pretokenizers/1/add_prefix_space", "true", "[1].add_prefix_space: true"},
      {"/pre_tokenizer/pretokenizers/1/use_regex", "true", "pretokenizers[1].use_regex: true"},
      {"/pre_tokenizer/pretokenizers/1/use_regex", "null", "pretokenizers[1].use_regex: true"},
      {"/pre_tokenizer", R"({"type": "ByteLevel", "add_prefix_space": true, "use_regex": false})",
       "pre_tokenizer.use_regex: false is implemented only"},
      {"/pre_tokenizer", R"({"type": "ByteLevel"})", "pre_tokenizer.add_prefix_space: must be"},
      {"/post_processor/type", "\"Lua\"", "post_processor.type: 'Lua' is not implemented"},
      {"/post_processor/type", "\"Sequence\"", "post_processor.type: 'Sequence'"},
      {"/post_processor", R"({"type": "Sequence", "processors": [{"type": "Lua"}]})",
       "post_processor.processors[0].type: 'Lua'"},
      {"/decoder", "null", "decoder: must be an object"},
      {"/decoder/type", "\"Metaspace\"", "decoder.type: 'Metaspace'"},
      {"/model", "null", "model: must be an object"},
      {"/model/type", "\"Unigram\"", "model.type: 'Unigram'"},
      {"/model/type", "1", "model.type: must be a string"},
      {"/model/dropout", "0.1", "model.dropout: not implemented"},
      {"/model/continuing_subword_prefix", "\"##\"", "model.continuing_subword_prefix"},
      {"/model/end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix"},
      {"/model/byte_fallback", "true", "model.byte_fallback: true"},
      {"/model/ignore_merges", "1", "model.ignore_merges: must be true or false"},
      {"/model/vocab", "[]", "model.vocab: must be an object"},
      {"/model/vocab/he", "-1", "model.vocab['he']: must be an id from 0 to"},
      {"/model/vocab/he", "\"256\"", "model.vocab['he']: must be an id"},
      {"/model/vocab/he", "256.5", "model.vocab['he']: must be an id"},
      {"/model/vocab/he", "4194303", "model.vocab['he']: must be an id from 0 to 4194302"},
      {"/model/vocab/he", "4294967296", "model.vocab['he']: must be an id"},
      {"/model/vocab/he", "1e300", "model.vocab['he']: must be an id"},
      {"/model/vocab/he", "3", "id 3 is given twice, the second time to 'he'"},
      {"/model/merges", "{}", "model.merges: must be an array"},
      {"/model/merges/1", "[\"l\",\"x\"]", "model.merges[1]: 'lx' names no token"},
      {"/model/merges/1", "[\"lx\",\"l\"]", "model.merges[1]: 'lx' names no token"},
      {"/model/merges/1", "\"l lx\"", "model.merges[1]: 'lx' names no token"},
      {"/model/merges/1", "\"ll\"", "model.merges[1]: must be two tokens"},
      {"/model/merges/1", "\"l l l\"", "model.merges[1]: must be two tokens"},
      {"/model/merges/1", "[\"\",\"l\"]", "model.merges[1]: must be two tokens that are not empty"},
      {"/model/merges/1", "\"l \"", "model.merges[1]: must be two tokens that are not empty"},
      {"/model/merges/1", "[\"l\"]", "model.merges[1]: must be a pair"},
      {"/model/merges/1", "[\"l\",7]", "model.merges[1]: must be a pair"},
      {"/model/merges/1", "null", "model.merges[1]: must be a pair"},
      {"/added_tokens", "{}", "added_tokens: must be an array"},
      {"/added_tokens/0", "\"x\"", "added_tokens[0]: must be an object"},
      {"/added_tokens/0/id", "null", "added_tokens[0].id: must be a token id"},
      {"/added_tokens/0/id", "4294967295", "added_tokens[0].id: must be an id from 0 to"},
      {"/added_tokens/0/id", "262", "added_tokens[1].id: id 262 is given twice"},
      {"/added_tokens/0/id", "5", "added_tokens[0].id: id 5 is given twice"},
      {"/added_tokens/0/content", "\"hello\"", "added_tokens[0].id: 261, but model.vocab"},
      {"/added_tokens/0/content", "\"\"", "added_tokens[0].content: must be a string that is not"},
      {"/added_tokens/0/content", "9", "added_tokens[0].content: must be a string"},
      {"/added_tokens/1/content", "\"<|end|>\"", "added_tokens[1].content: '<|end|>' is"},
      {"/added_tokens/0/lstrip", "\"no\"", "added_tokens[0].lstrip: must be true or false"},
      {"/added_tokens/0/normalized", "null", "added_tokens[0].normalized: must be true or false"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(c.pointer) + " = " + c.value);
    rapidjson::Document json = SmallTokenizerJson();
    SetJson(json, c.pointer, c.value);
    ExpectError(Tokenizer::FromJson(ToText(json), "{}"), c.message);
    ExpectError(Tokenizer::FromJson(ToText(json), "{}"), "tokenizer.json: ");
  }
}

TEST(TokenizerJson, EachFieldMissing) {
  for (const char* pointer :
       {"/pre_tokenizer", "/pre_tokenizer/type", "/pre_tokenizer/pretokenizers",
        "/pre_tokenizer/pretokenizers/0/pattern", "/pre_tokenizer/pretokenizers/0/behavior",
        "/pre_tokenizer/pretokenizers/1/use_regex", "/decoder", "/decoder/type", "/normalizer/type",
        "/model", "/model/vocab", "/model/merges", "/added_tokens/0/id", "/added_tokens/0/content",
        "/added_tokens/0/special"}) {
    SCOPED_TRACE(pointer);
    rapidjson::Document json = SmallTokenizerJson();
    ASSERT_TRUE(rapidjson::Pointer(pointer).Erase(json));
    ExpectError(Tokenizer::FromJson(ToText(json), "{}"), "tokenizer.json: ");
  }
}

TEST(TokenizerJson, AByteWithoutATokenIsNamed) {
  rapidjson::Document json = SmallTokenizerJson();
  json["model"]["vocab"].RemoveMember("Ġ");
  SetJson(json, "/model/merges", "[]");
  ExpectError(Tokenizer::FromJson(ToText(json), "{}"),
              "model.vocab: no token 'Ġ' for the single byte 32");
}

TEST(TokenizerJson, TooManyMerges) {
  std::string merges = "[\"h e\"";
  for (int i = 0; i < 1 << 20; ++i) merges += ",\"h e\"";
  rapidjson::Document json = SmallTokenizerJson();
  SetJson(json, "/model/merges", merges + "]");
  ExpectError(Tokenizer::FromJson(ToText(json), "{}"),
              "model.merges: 1048577 merges, more than the limit of 1048575");
}

TEST(TokenizerJson, DuplicateKeysInTheVocabulary) {
  std::string text = ToText(SmallTokenizerJson());
  const size_t at = text.find("\"hello\":259");
  ASSERT_NE(at, text.npos);
  text.insert(at, "\"hello\":300,");
  ExpectError(Tokenizer::FromJson(text, "{}"), "token 'hello' comes twice");
}

TEST(TokenizerJson, BrokenText) {
  const std::string good = ToText(SmallTokenizerJson());
  ExpectError(Tokenizer::FromJson("", "{}"), "tokenizer.json: broken JSON at byte 0");
  ExpectError(Tokenizer::FromJson("[]", "{}"), "tokenizer.json: must be a JSON object");
  ExpectError(Tokenizer::FromJson("{} x", "{}"), "tokenizer.json: broken JSON at byte 3");
  ExpectError(Tokenizer::FromJson(std::string(1, '\0'), "{}"), "tokenizer.json: holds a NUL byte");
  ExpectError(Tokenizer::FromJson("{\"a\":\"\xFF\"}", "{}"), "tokenizer.json: broken JSON");
  // Cut anywhere.
  for (size_t cut = 0; cut < good.size(); cut += 37) {
    ExpectError(Tokenizer::FromJson(good.substr(0, cut), "{}"), "tokenizer.json: broken JSON");
  }
  // Deep nesting must not end the stack.
  ExpectError(Tokenizer::FromJson(std::string(5'000'000, '['), "{}"), "broken JSON");
  std::string deep =
      "{\"normalizer\":" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}";
  ExpectError(Tokenizer::FromJson(deep, "{}"), "normalizer: must be an object");
}

TEST(TokenizerJson, HalfASurrogatePair) {
  for (const char* half : {"\\ud800", "\\udc00", "\\ud83d\\ud83d"}) {
    std::string text = ToText(SmallTokenizerJson());
    text.insert(text.find("\"hello\":259"), "\"" + std::string(half) + "\":300,");
    const auto tokenizer = Tokenizer::FromJson(text, "{}");
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument) << half;
  }
}

TEST(TokenizerJson, WhatIsHarmlessIsAccepted) {
  EXPECT_THAT(SmallTokenizer({{"/normalizer", "null"}})->Encode("e\u0301"),
              ElementsAre('e', 0xCC, 0x81));
  EXPECT_THAT(SmallTokenizer({{"/model/merges", "[\"h e\"]"}})->Encode("he"),
              ElementsAre(kSmallHe));
  SmallTokenizer({{"/post_processor", "null"}});
  SmallTokenizer({{"/model/unk_token", "\"<|end|>\""}});
  SmallTokenizer({{"/model/dropout", "0.0"}});
  SmallTokenizer({{"/model/end_of_word_suffix", "null"}});
  SmallTokenizer({{"/added_tokens", "null"}});
  // An added token may be one of the model's own.
  EXPECT_THAT(SmallTokenizer({{"/added_tokens", "[" + AddedTokenJson(kSmallHe, "he") + "]"}})
                  ->Encode("hello"),
              ElementsAre(kSmallHe, kSmallLl, 'o'));
}

TEST(TokenizerJson, IdsNeedNotBeDense) {
  const auto t = SmallTokenizer({{"/added_tokens", "[" + AddedTokenJson(1000, "<x>") + "]"}});
  EXPECT_EQ(t->vocab_size(), 1001);
  EXPECT_THAT(t->Encode("a<x>"), ElementsAre('a', 1000));
  EXPECT_EQ(*t->Decode(std::vector<uint32_t>{1000}, false), "<x>");
  EXPECT_THAT(std::string(t->Decode(std::vector<uint32_t>{'a', 999}, false).status().message()),
              HasSubstr("ids[1]: 999 has no token"));
}

// A token with a character outside the byte alphabet can be named by no text; decoded, it is
// itself.
TEST(TokenizerJson, TokensOutsideTheByteAlphabet) {
  const auto t = SmallTokenizer({{"/model/vocab/中", "300"}});
  EXPECT_THAT(t->Encode("中"), ElementsAre(0xE4, 0xB8, 0xAD));
  EXPECT_EQ(*t->Decode(std::vector<uint32_t>{300}, false), "中");
}

absl::StatusOr<std::unique_ptr<Tokenizer>> WithConfig(const std::string& config) {
  return Tokenizer::FromJson(ToText(SmallTokenizerJson()), config);
}

TEST(TokenizerConfig, WrongFieldsAreNamed) {
  ExpectError(WithConfig("{"), "tokenizer_config.json: broken JSON at byte 1");
  ExpectError(WithConfig("[]"), "tokenizer_config.json: must be a JSON object");
  ExpectError(WithConfig(R"({"chat_template": 7})"), "chat_template: must be a string");
  ExpectError(WithConfig(R"({"chat_template": [7]})"), "chat_template[0]: must be an object");
  ExpectError(WithConfig(R"({"chat_template": [{"name": "default"}]})"), "chat_template[0]: must");
  ExpectError(WithConfig(R"({"chat_template": [{"name": "default", "template": {}}]})"),
              "chat_template[0].template: must be a string");
  ExpectError(WithConfig(R"({"eos_token": 7})"), "eos_token: must be a string");
  ExpectError(WithConfig(R"({"pad_token": {}})"), "pad_token.content: must be a string");
  ExpectError(WithConfig(R"({"bos_token": "\udc00"})"), "bos_token: must be well-formed UTF-8");
  ExpectError(WithConfig(R"({"name_or_path": []})"), "name_or_path: must be a string");
}

TEST(TokenizerConfig, IsRead) {
  const auto t = *WithConfig(R"({"chat_template": "{{ x }}", "bos_token": null,
      "eos_token": {"content": "<|end|>", "lstrip": false}, "pad_token": "<pad>",
      "name_or_path": "some/model"})");
  EXPECT_EQ(t->chat_template(), "{{ x }}");
  EXPECT_EQ(t->special_tokens().bos, "");
  EXPECT_EQ(t->special_tokens().eos, "<|end|>");
  EXPECT_EQ(t->special_tokens().pad, "<pad>");
  EXPECT_EQ(t->model_name(), "some/model");
  const auto several = *WithConfig(R"({"chat_template": [{"name": "tool_use", "template": "a"},
      {"name": "default", "template": "b"}]})");
  EXPECT_EQ(several->chat_template(), "b");
  EXPECT_EQ((*WithConfig(""))->chat_template(), "");
}

}  // namespace
}  // namespace kvasir
