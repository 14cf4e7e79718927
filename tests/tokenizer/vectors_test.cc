// The exactness vectors: what Hugging Face tokenizers 0.23.2 makes of texts, bytes and ids.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "tests/tokenizer/qwen3_tokenizer.h"
#include "tokenizer/stream_decoder.h"

namespace kvasir {
namespace {

using ::testing::HasSubstr;

struct Vector {
  int line = 0;
  std::string kind, category, text, text_skip_special, data;
  std::vector<uint32_t> ids;
};

std::vector<Vector> ReadVectors() {
  std::ifstream file(KVASIR_SOURCE_DIR "/tests/tokenizer/data/encode-decode.jsonl");
  std::vector<Vector> vectors;
  std::string line;
  while (std::getline(file, line)) {
    rapidjson::Document json;
    json.Parse(line.data(), line.size());
    EXPECT_FALSE(json.HasParseError());
    const auto text = [&](const char* member) {
      return json.HasMember(member)
                 ? std::string(json[member].GetString(), json[member].GetStringLength())
                 : std::string();
    };
    Vector vector{static_cast<int>(vectors.size()) + 1, text("kind"), text("cat"), text("text"),
                  text("text_skip_special")};
    EXPECT_TRUE(absl::Base64Unescape(text("b64"), &vector.data));
    for (const auto& id : json["ids"].GetArray()) vector.ids.push_back(id.GetUint());
    vectors.push_back(vector);
  }
  return vectors;
}

TEST(Vectors, AllKindsAreThere) {
  std::map<std::string, int> count;
  for (const Vector& vector : ReadVectors()) ++count[vector.kind];
  EXPECT_GE(count["encode"], 350);
  EXPECT_GE(count["encode_plain"], 3);
  EXPECT_GE(count["encode_bytes"], 5);
  EXPECT_GE(count["decode"], 30);
}

TEST(Vectors, Encode) {
  const Tokenizer& tokenizer = Qwen3Tokenizer();
  for (const Vector& vector : ReadVectors()) {
    SCOPED_TRACE("line " + std::to_string(vector.line) + ", " + vector.category);
    if (vector.kind == "encode") {
      EXPECT_EQ(tokenizer.Encode(vector.text), vector.ids);
    } else if (vector.kind == "encode_plain") {
      EXPECT_EQ(tokenizer.Encode(vector.text, {.plain = true}), vector.ids);
    } else if (vector.kind == "encode_bytes") {
      EXPECT_EQ(tokenizer.Encode(vector.data), vector.ids);
      EXPECT_EQ(tokenizer.Encode(vector.text), vector.ids);
    }
  }
}

// Hugging Face passes over ids outside the vocabulary; Kvasir refuses them.
TEST(Vectors, DecodeOutOfRangeIsRefused) {
  const Tokenizer& tokenizer = Qwen3Tokenizer();
  for (const Vector& vector : ReadVectors()) {
    if (vector.category != "decode:outofrange") continue;
    const absl::Status status = tokenizer.Decode(vector.ids, false).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("ids[1]: " + std::to_string(vector.ids[1]) +
                          " is outside the vocabulary of 151669"));
  }
}

TEST(Vectors, Decode) {
  const Tokenizer& tokenizer = Qwen3Tokenizer();
  for (const Vector& vector : ReadVectors()) {
    if (vector.kind != "decode" || vector.category == "decode:outofrange") continue;
    SCOPED_TRACE("line " + std::to_string(vector.line) + ", " + vector.category);
    EXPECT_EQ(*tokenizer.Decode(vector.ids, false), vector.text);
    EXPECT_EQ(*tokenizer.Decode(vector.ids, true), vector.text_skip_special);
  }
}

bool IsWellFormed(const std::string& text) {
  rapidjson::StringStream stream(text.c_str());
  while (stream.Tell() < text.size()) {
    unsigned code_point;
    if (!rapidjson::UTF8<>::Decode(stream, &code_point)) return false;
  }
  return true;
}

// Every vector, cut in two at every place, and into single ids.
TEST(Vectors, StreamDecodeAtEverySplit) {
  const Tokenizer& tokenizer = Qwen3Tokenizer();
  for (const Vector& vector : ReadVectors()) {
    if (vector.category == "decode:outofrange") continue;
    SCOPED_TRACE("line " + std::to_string(vector.line) + ", " + vector.category);
    const std::span<const uint32_t> ids = vector.ids;
    for (const bool skip_special : {false, true}) {
      const std::string whole = *tokenizer.Decode(ids, skip_special);
      StreamDecoder decoder(tokenizer, skip_special);
      const auto push = [&](std::span<const uint32_t> part) {
        const std::string text = *decoder.Push(part);
        EXPECT_TRUE(IsWellFormed(text));
        return text;
      };
      for (size_t cut = 0; cut <= ids.size(); ++cut) {
        std::string text = push(ids.first(cut));
        text += push(ids.subspan(cut));
        text += decoder.Finish();
        ASSERT_EQ(text, whole) << "cut at " << cut;
      }
      std::string text;
      for (size_t i = 0; i < ids.size(); ++i) text += push(ids.subspan(i, 1));
      text += decoder.Finish();
      ASSERT_EQ(text, whole);
    }
  }
}

}  // namespace
}  // namespace kvasir
