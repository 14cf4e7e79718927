#include "tokenizer/utf8.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace kvasir {
namespace {

using namespace std::string_literals;

std::string Repaired(const std::string& bytes) {
  std::string text;
  AppendRepaired(bytes, text, nullptr);
  return text;
}

// The examples of the Unicode Standard, tables 3-8 to 3-11 (section 3.9), and their neighbours.
TEST(AppendRepaired, OneReplacementForEachMaximalSubpart) {
  const std::string r = "\uFFFD";
  EXPECT_EQ(Repaired("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(Repaired("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(Repaired("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"),
            r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(Repaired("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
  EXPECT_EQ(Repaired("\xF0\x9F\x98"), r);
  EXPECT_EQ(Repaired("\x00\xEF\xBB\xBF\x7F"s), "\x00\uFEFF\x7F"s);
  EXPECT_EQ(Repaired(""), "");
}

TEST(AppendRepaired, TellsWhatItReplaced) {
  std::string text = "before";
  std::vector<TextEdit> edits;
  AppendRepaired("a\xFF\xE4\xB8z", text, &edits);
  EXPECT_EQ(text, "beforea\uFFFD\uFFFDz");
  ASSERT_EQ(edits.size(), 2);
  EXPECT_EQ(edits[0].before, (ByteRange{1, 2}));
  EXPECT_EQ(edits[0].after, (ByteRange{7, 10}));
  EXPECT_EQ(edits[1].before, (ByteRange{2, 4}));
  EXPECT_EQ(edits[1].after, (ByteRange{10, 13}));
}

TEST(Utf8, EveryScalarValueGoesRoundAndNothingElseIsWellFormed) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    std::string text;
    AppendUtf8(c, text);
    if (c >= 0xD800 && c < 0xE000) {
      ASSERT_EQ(WellFormedPrefix(text), 0) << uint32_t{c};
      continue;
    }
    ASSERT_EQ(WellFormedPrefix(text), text.size()) << uint32_t{c};
    const CodePoint first = DecodeWellFormed(text.data());
    ASSERT_EQ(first.value, c);
    ASSERT_EQ(first.bytes, text.size());
    ASSERT_EQ(DecodeLast("\u00E9" + text, text.size() + 2).value, c);
    for (size_t cut = 1; cut < text.size(); ++cut) {
      ASSERT_EQ(WellFormedPrefix(text.substr(0, cut)), 0);
      ASSERT_EQ(UnfinishedTail(text.substr(0, cut)), cut);
    }
    ASSERT_EQ(UnfinishedTail(text), 0);
  }
}

TEST(UnfinishedTail, IsOnlyWhatMoreBytesMayComplete) {
  EXPECT_EQ(UnfinishedTail(""), 0);
  EXPECT_EQ(UnfinishedTail("a"), 0);
  EXPECT_EQ(UnfinishedTail("\x80\x80"), 0);
  EXPECT_EQ(UnfinishedTail("a\xE0"), 1);
  EXPECT_EQ(UnfinishedTail("a\xE0\x80"), 0);  // E0 80 starts nothing.
  EXPECT_EQ(UnfinishedTail("\xED\xA0"), 0);   // Nor does half a surrogate pair.
  EXPECT_EQ(UnfinishedTail("\xF4\x90"), 0);
  EXPECT_EQ(UnfinishedTail("\xF0\x90\x80"), 3);
  EXPECT_EQ(UnfinishedTail("\xFF"), 0);
  EXPECT_EQ(UnfinishedTail("\x80\x80\x80\x80"), 0);
}

// Bytes that come in any pieces, held back where unfinished, give what they give as a whole.
TEST(UnfinishedTail, RepairInPiecesEqualsRepairOfAll) {
  std::mt19937 random(1);
  const std::string alphabet = "a\x80\xBF\xC2\xE0\xA0\xED\x9F\xF0\x90\xF4\x8F\xFF\xE4\xB8\xAD";
  for (int round = 0; round < 20000; ++round) {
    std::string bytes;
    for (size_t n = random() % 12; n > 0; --n) bytes += alphabet[random() % alphabet.size()];
    std::string text;
    std::string held;
    for (size_t at = 0; at < bytes.size();) {
      const size_t count = 1 + random() % 3;
      held += bytes.substr(at, count);
      at += count;
      const size_t whole = held.size() - UnfinishedTail(held);
      text += Repaired(held.substr(0, whole));
      held.erase(0, whole);
    }
    text += Repaired(held);
    ASSERT_EQ(text, Repaired(bytes));
    ASSERT_EQ(WellFormedPrefix(text), text.size());
  }
}

}  // namespace
}  // namespace kvasir
