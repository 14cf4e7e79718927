#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/tokenizer/qwen3_tokenizer.h"
#include "tests/tokenizer/small_tokenizer.h"
#include "tokenizer/stream_decoder.h"
#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

TEST(Tokenizer, EncodeAndDecode) {
  const auto t = SmallTokenizer();
  EXPECT_THAT(t->Encode(""), ElementsAre());
  const std::vector<uint32_t> ids = t->Encode("hello hello<|end|>hell");
  EXPECT_THAT(ids, ElementsAre(kSmallHello, kSmallSpaceHello, kSmallEnd, kSmallHell));
  EXPECT_EQ(*t->Decode(ids, false), "hello hello<|end|>hell");
  EXPECT_EQ(*t->Decode(ids, true), "hello hellohell");
  EXPECT_EQ(*t->Decode({}, false), "");
  // <tool> is added, not special: it stays.
  EXPECT_EQ(*t->Decode(t->Encode("<tool>"), true), "<tool>");
  EXPECT_EQ(*t->Decode(std::vector<uint32_t>{0xE4, 0xB8, 'x', 0xFF}, false), "\uFFFDx\uFFFD");
}

TEST(Tokenizer, IllFormedBytesAreReplacedBeforeAnythingElse) {
  const auto t = SmallTokenizer();
  EXPECT_EQ(t->Encode("a\xE4\xB8<|end|>\xFF"), t->Encode("a\uFFFD<|end|>\uFFFD"));
}

TEST(Tokenizer, SaysWhatItIs) {
  const auto t = SmallTokenizer();
  EXPECT_EQ(t->vocab_size(), 263);
  ASSERT_EQ(t->added_tokens().size(), 2);
  EXPECT_EQ(t->added_tokens()[0].content, "<|end|>");
  EXPECT_TRUE(t->added_tokens()[0].special);
  EXPECT_EQ(t->added_tokens()[1].id, kSmallTool);
  EXPECT_FALSE(t->added_tokens()[1].special);
  EXPECT_TRUE(t->IsSpecial(kSmallEnd));
  EXPECT_FALSE(t->IsSpecial(kSmallTool));
  EXPECT_EQ(t->TokenBytes(kSmallSpaceHello), " hello");
}

TEST(Tokenizer, IdsOutsideTheVocabularyAreNamed) {
  const auto t = SmallTokenizer();
  const absl::Status status = t->Decode(std::vector<uint32_t>{1, 2, 263}, true).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "ids[2]: 263 is outside the vocabulary of 263");
  EXPECT_FALSE(t->CheckIds(std::vector<uint32_t>{~0u}).ok());
}

TEST(StreamDecoder, AWrongIdChangesNothing) {
  const auto t = SmallTokenizer();
  StreamDecoder decoder(*t, false);
  EXPECT_EQ(*decoder.Push(std::vector<uint32_t>{'a', 0xE4}), "a");
  EXPECT_EQ(decoder.Push(std::vector<uint32_t>{0xB8, 5000}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(*decoder.Push(std::vector<uint32_t>{0xB8}), "");
  EXPECT_EQ(*decoder.Push(std::vector<uint32_t>{0xAD}), "中");
  EXPECT_EQ(*decoder.Push(std::vector<uint32_t>{0xF0, 0x9F}), "");
  EXPECT_EQ(decoder.Finish(), "\uFFFD");
  EXPECT_EQ(decoder.Finish(), "");
}

TEST(StreamDecoder, RandomIdsInRandomPiecesEqualDecode) {
  const Tokenizer& t = Qwen3Tokenizer();
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    const bool skip_special = random() % 2;
    std::vector<uint32_t> ids;
    // Single bytes, two in three, so that most characters are in pieces.
    for (size_t n = random() % 16; n > 0; --n) {
      ids.push_back(random() % 3 ? random() % 256 : random() % t.vocab_size());
    }
    StreamDecoder decoder(t, skip_special);
    std::string text;
    for (size_t at = 0; at < ids.size();) {
      const size_t count = std::min<size_t>(random() % 4, ids.size() - at);
      const std::string part = *decoder.Push(std::span(ids).subspan(at, count));
      ASSERT_EQ(WellFormedPrefix(part), part.size());
      text += part;
      at += count;
    }
    text += decoder.Finish();
    ASSERT_EQ(text, *t.Decode(ids, skip_special));
  }
}

constexpr char kGpt2Split[] = R"({"type": "ByteLevel", "add_prefix_space": false})";
constexpr char kGpt2SplitWithPrefixSpace[] = R"({"type": "ByteLevel", "add_prefix_space": true})";

// 256 and up: he, ll, hell, hello, and hello after a space.
TEST(Rules, OnlyASpaceLeadsAWordOfGpt2) {
  const std::vector<std::pair<std::string, std::string>> merge = {
      {"/model/vocab/(h", "300"}, {"/model/merges", R"([["(","h"]])"}};
  EXPECT_THAT(SmallTokenizer(merge)->Encode("(h"), ElementsAre(300));
  auto gpt2 = merge;
  gpt2.emplace_back("/pre_tokenizer", kGpt2Split);
  EXPECT_THAT(SmallTokenizer(gpt2)->Encode("(h"), ElementsAre('(', 'h'));
}

// Each text between added tokens gets the space, once.
TEST(Rules, PrefixSpace) {
  const auto t = SmallTokenizer({{"/pre_tokenizer", kGpt2SplitWithPrefixSpace}});
  EXPECT_THAT(t->Encode("hello"), ElementsAre(260));
  EXPECT_THAT(t->Encode(" hello"), ElementsAre(260));
  EXPECT_THAT(t->Encode("hello<|end|>hello<tool> hello"),
              ElementsAre(260, kSmallEnd, 260, kSmallTool, 260));
  EXPECT_THAT(t->Encode(""), ElementsAre());
  EXPECT_THAT(t->Encode("<|end|>"), ElementsAre(kSmallEnd));
  EXPECT_EQ(*t->Decode(t->Encode("hello"), false), " hello");
}

// No merge makes "lo"; "hello" is taken whole although its merges are gone.
TEST(Rules, IgnoreMerges) {
  const std::vector<std::pair<std::string, std::string>> edits = {
      {"/model/vocab/lo", "300"}, {"/model/merges", R"([["h","e"]])"}};
  EXPECT_THAT(SmallTokenizer(edits)->Encode("lo hello"),
              ElementsAre('l', 'o', ' ', 256, 'l', 'l', 'o'));
  std::vector<std::pair<std::string, std::string>> ignoring = edits;
  ignoring.emplace_back("/model/ignore_merges", "true");
  const auto t = SmallTokenizer(ignoring);
  EXPECT_THAT(t->Encode("lo hello"), ElementsAre(300, 260));
  EXPECT_THAT(t->Encode("los"), ElementsAre('l', 'o', 's'));
  // Spelled otherwise than in the alphabet, a token is no piece of a text.
  ignoring.emplace_back("/model/vocab/中", "301");
  EXPECT_THAT(SmallTokenizer(ignoring)->Encode("中"), ElementsAre(0xE4, 0xB8, 0xAD));
}

// What others write for the same: pieces are what is left when all between matches goes.
TEST(Rules, RemovedAndInvertedIsIsolated) {
  const std::string first = "/pre_tokenizer/pretokenizers/0";
  EXPECT_EQ(SmallTokenizer({{first + "/behavior", "\"Removed\""}, {first + "/invert", "true"}})
                ->Encode("hello 12"),
            SmallTokenizer()->Encode("hello 12"));
}

TEST(Rules, PostProcessorsThatAddTokensAreLeftToTheCaller) {
  EXPECT_THAT(SmallTokenizer({{"/post_processor", R"({"type": "Sequence", "processors": [
                  {"type": "ByteLevel"}, {"type": "TemplateProcessing"}]})"}})
                  ->Encode("hello"),
              ElementsAre(259));
}

TEST(Fingerprint, ChangesWithAllThatDecidesIdsAndWithNothingElse) {
  std::set<std::string> seen;
  const auto first = SmallTokenizer();
  EXPECT_EQ(first->fingerprint().size(), 32);
  seen.insert(first->fingerprint());
  const std::string tool = AddedTokenJson(kSmallTool, "<tool>");
  const std::vector<std::pair<std::string, std::string>> edits[] = {
      {{"/normalizer", "null"}},
      {{"/pre_tokenizer", kGpt2Split}},
      {{"/pre_tokenizer", kGpt2SplitWithPrefixSpace}},
      {{"/model/ignore_merges", "true"}},
      {{"/model/vocab/extra", "400"}},
      {{"/model/vocab/extra", "401"}},
      {{"/model/merges/0", "[\"l\",\"l\"]"}, {"/model/merges/1", "[\"h\",\"e\"]"}},
      {{"/model/merges", "[]"}},
      {{"/added_tokens", "[" + tool + "]"}},
      {{"/added_tokens/1/content", "\"<tools>\""}},
      {{"/added_tokens/1/id", "500"}},
      {{"/added_tokens/1/special", "true"}},
      {{"/added_tokens/1/lstrip", "true"}},
      {{"/added_tokens/1/rstrip", "true"}},
      {{"/added_tokens/1/single_word", "true"}},
      {{"/added_tokens/1/normalized", "true"}},
  };
  for (const auto& edit : edits) {
    EXPECT_TRUE(seen.insert(SmallTokenizer(edit)->fingerprint()).second) << edit[0].first;
  }
  const std::string json = ToText(SmallTokenizerJson());
  for (const char* config : {R"({"chat_template": "x"})", R"({"eos_token": "<|end|>"})"}) {
    EXPECT_TRUE(seen.insert((*Tokenizer::FromJson(json, config))->fingerprint()).second) << config;
  }
  // The layout of the file, merges in the older spelling, fields that decide nothing.
  EXPECT_EQ(SmallTokenizer({{"/model/merges/0", "\"h e\""}, {"/model/unk_token", "\"x\""}})
                ->fingerprint(),
            first->fingerprint());
  EXPECT_EQ((*Tokenizer::FromJson(" \n" + json + "\n", R"({"other": 1})"))->fingerprint(),
            first->fingerprint());
}

class LoadTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(testing::TempDir()) / "kvasir_load_test" / "some-model";
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_.parent_path()); }

  void Write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / name, std::ios::binary) << text;
  }

  std::filesystem::path directory_;
};

TEST_F(LoadTest, MissingFilesAreNamed) {
  EXPECT_EQ(Tokenizer::Load(directory_ / "nowhere").status().code(), absl::StatusCode::kNotFound);
  absl::Status status = Tokenizer::Load(directory_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), EndsWith("some-model/tokenizer.json: no such file"));
  Write("tokenizer.json", ToText(SmallTokenizerJson()));
  status = Tokenizer::Load(directory_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer_config.json: no such file"));
  std::filesystem::create_directory(directory_ / "tokenizer_config.json");
  EXPECT_EQ(Tokenizer::Load(directory_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(LoadTest, ChatTemplateFileWinsOverTheConfiguration) {
  Write("tokenizer.json", ToText(SmallTokenizerJson()));
  Write("tokenizer_config.json", R"({"chat_template": "inner"})");
  auto t = *Tokenizer::Load(directory_);
  EXPECT_EQ(t->chat_template(), "inner");
  EXPECT_EQ(t->model_name(), "some-model");
  EXPECT_EQ((*Tokenizer::Load(directory_ / ""))->model_name(), "some-model");
  Write("chat_template.jinja", "outer\n");
  t = *Tokenizer::Load(directory_);
  EXPECT_EQ(t->chat_template(), "outer\n");
  Write("chat_template.jinja", "\xFF");
  EXPECT_EQ(Tokenizer::Load(directory_).status().message(),
            "chat_template.jinja: must be well-formed UTF-8");
}

TEST_F(LoadTest, BrokenFilesAreNamed) {
  Write("tokenizer.json", "{");
  Write("tokenizer_config.json", "{}");
  const absl::Status status = Tokenizer::Load(directory_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.json: broken JSON"));
}

TEST(Qwen3, SaysWhatItIs) {
  const Tokenizer& t = Qwen3Tokenizer();
  EXPECT_EQ(t.vocab_size(), 151669);
  EXPECT_EQ(t.added_tokens().size(), 26);
  EXPECT_EQ(t.added_tokens()[2].content, "<|im_end|>");
  EXPECT_EQ(t.special_tokens().eos, "<|im_end|>");
  EXPECT_EQ(t.special_tokens().pad, "<|endoftext|>");
  EXPECT_EQ(t.special_tokens().bos, "");
  EXPECT_THAT(t.chat_template(), HasSubstr("<|im_start|>"));
}

TEST(Qwen3, EveryTokenDecodesToItsBytes) {
  const Tokenizer& t = Qwen3Tokenizer();
  for (uint32_t id = 0; id < t.vocab_size(); ++id) {
    const std::string bytes(t.TokenBytes(id));
    std::string text;
    AppendRepaired(bytes, text, nullptr);
    ASSERT_EQ(*t.Decode(std::vector<uint32_t>{id}, false), text);
  }
}

// Text that is in NFC and has no added token comes back from its ids.
TEST(Qwen3, DecodeOfEncodeIsTheText) {
  const Tokenizer& t = Qwen3Tokenizer();
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (size_t n = random() % 20; n > 0; --n) {
      const char32_t c = random() % (random() % 2 ? 0x80 : 0x2600);
      if (c < 0x300 || c > 0x2000) AppendUtf8(c == U'\u2126' ? U'x' : c, text);
    }
    const std::string before = text;
    const std::string after = *t.Decode(t.Encode(text, {.plain = true}), false);
    ASSERT_EQ(t.Encode(after, {.plain = true}), t.Encode(before, {.plain = true}));
  }
}

TEST(Qwen3, ManyThreadsEncodeWithOneTokenizer) {
  const Tokenizer& t = Qwen3Tokenizer();
  std::vector<std::string> texts;
  std::vector<std::vector<uint32_t>> want;
  for (int i = 0; i < 50; ++i) {
    std::string text = "<|im_start|>user\nNumber " + std::to_string(i * 7919) + " e\u0301 中文 ";
    text += std::string(60 + i, static_cast<char>('a' + i % 26)) + "\xFF<|im_end|>";
    texts.push_back(text);
    want.push_back(t.Encode(text));
  }
  std::vector<std::thread> threads;
  std::vector<int> wrong(8);
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 2000; ++i) {
        const int which = (i * 31 + thread) % 50;
        const std::vector<uint32_t> ids = t.Encode(texts[which]);
        wrong[thread] += ids != want[which];
        StreamDecoder decoder(t, false);
        wrong[thread] += *decoder.Push(ids) + decoder.Finish() != *t.Decode(ids, false);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::count(wrong.begin(), wrong.end(), 0), 8);
}

// --- Hostile input takes linear time (n log n at most). ---

// Of this thread alone: a machine that others use too must not decide.
double CpuSeconds(const Tokenizer& t, const std::string& text) {
  const auto now = [] {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  t.Encode(text);
  return now() - start;
}

std::string Repeated(const std::string& part, size_t size) {
  std::string text;
  while (text.size() < size) text += part;
  return text;
}

// 64 times the text takes 64 times the time where that is linear, 90 times where it is n log n, and
// 4096 times where it is quadratic. The bound is far from all of them: caches and busy neighbours
// count for a factor of a few.
TEST(Qwen3, HostileTextTakesLinearTime) {
  const Tokenizer& t = Qwen3Tokenizer();
  const std::string parts[] = {
      "a",             // one letter: one piece
      "ab",            //
      "\u0301",        // marks of one combining class
      "\u0301\u0323",  // marks that all have to be moved
      "e\u0301",       // to be composed
      " ",             // white space without end
      " \n",           //
      "\n ",           //
      "\r\n",          //
      "'",             //
      "''s",           //
      "!",             // one piece of symbols
      "\u4E2D",        // one piece of Han letters
      "\u1100\u1161\u11A8",
      "\xFF",        // ill-formed
      "\xE4\xB8",    //
      "<",           // starts of added tokens
      "<|im_",       //
      "<|im_end|>",  //
      std::string(1, '\0'),
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
  };
  // Accents of four classes, each run to be moved before those that came first.
  std::string descending = "a";
  for (const char* mark : {"\u0345", "\u0301", "\u0323", "\u0338"}) {
    descending += Repeated(mark, (1 << 20) / 4);
  }
  std::vector<std::pair<std::string, std::string>> texts = {
      {Repeated("a\u0345\u0301\u0323\u0338", 1 << 14), descending}};
  for (const std::string& part : parts) {
    texts.emplace_back(Repeated(part, 1 << 14), Repeated(part, 1 << 20));
  }
  for (const auto& [shorter, longer] : texts) {
    double best = 1e9;
    for (int run = 0; run < 3; ++run) best = std::min(best, CpuSeconds(t, shorter));
    // Below a tenth of a millisecond a time says nothing.
    EXPECT_LT(CpuSeconds(t, longer), 512 * std::max(best, 1e-4))
        << testing::PrintToString(shorter.substr(0, 20));
  }
}

}  // namespace
}  // namespace kvasir
