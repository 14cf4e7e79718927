#include "tokenizer/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> pieces;
  while (!text.empty()) {
    const std::string_view piece = FirstPiece(text);
    EXPECT_FALSE(piece.empty());
    if (piece.empty()) break;
    pieces.emplace_back(piece);
    text.remove_prefix(piece.size());
  }
  return pieces;
}

TEST(Pretokenizer, Words) {
  EXPECT_THAT(Split("Hello world"), ElementsAre("Hello", " world"));
  EXPECT_THAT(Split("a1b22"), ElementsAre("a", "1", "b", "2", "2"));
  EXPECT_THAT(Split("x=y"), ElementsAre("x", "=y"));  // Any one symbol may lead a word.
  EXPECT_THAT(Split("(a) ((b"), ElementsAre("(a", ")", " ((", "b"));
  EXPECT_THAT(Split("\ta\u3000b"), ElementsAre("\ta", "\u3000b"));
  EXPECT_THAT(Split("naïve中文"), ElementsAre("naïve中文"));
  EXPECT_THAT(Split("é\u0301e\u0301"), ElementsAre("é", "\u0301e", "\u0301"));
}

TEST(Pretokenizer, Contractions) {
  EXPECT_THAT(Split("it's I'LL we'Re'x"), ElementsAre("it", "'s", " I", "'LL", " we", "'Re", "'x"));
  EXPECT_THAT(Split("'sit"), ElementsAre("'s", "it"));
  EXPECT_THAT(Split("'lit 'v"), ElementsAre("'lit", " '", "v"));
  EXPECT_THAT(Split("a 's"), ElementsAre("a", " '", "s"));
  // Under (?i) s also matches U+017F, the long s; U+212A, the Kelvin sign, folds to no letter here.
  EXPECT_THAT(Split("'\u017Fo"), ElementsAre("'\u017F", "o"));
  EXPECT_THAT(Split("'\u212Ao"), ElementsAre("'\u212Ao"));
  EXPECT_THAT(Split("'"), ElementsAre("'"));
  EXPECT_THAT(Split("'l"), ElementsAre("'l"));
}

TEST(Pretokenizer, WhiteSpace) {
  EXPECT_THAT(Split("a   b"), ElementsAre("a", "  ", " b"));
  EXPECT_THAT(Split("a   "), ElementsAre("a", "   "));
  EXPECT_THAT(Split("a   1"), ElementsAre("a", "  ", " ", "1"));
  EXPECT_THAT(Split("a   !"), ElementsAre("a", "  ", " !"));
  EXPECT_THAT(Split("a\u3000\u3000!"), ElementsAre("a", "\u3000", "\u3000", "!"));
  EXPECT_THAT(Split("a \n  \r\n  b"), ElementsAre("a", " \n  \r\n", " ", " b"));
  EXPECT_THAT(Split("a\n\nb"), ElementsAre("a", "\n\n", "b"));
  EXPECT_THAT(Split("a\r\n b"), ElementsAre("a", "\r\n", " b"));
  EXPECT_THAT(Split("!\r\n\n b"), ElementsAre("!\r\n\n", " b"));
  EXPECT_THAT(Split("\u0085\u2028x"), ElementsAre("\u0085", "\u2028x"));
}

// The rule once more, alternative by alternative with its backtracking written out: slow, and
// sharing only the class tables.
class PlainRule {
 public:
  explicit PlainRule(const std::u32string& text) : text_(text) {}

  size_t PieceEnd(size_t begin) const {
    for (const std::u32string word : {U"'s", U"'t", U"'re", U"'ve", U"'m", U"'ll", U"'d"}) {
      bool same = begin + word.size() <= text_.size();
      for (size_t i = 0; same && i < word.size(); ++i) {
        same = Lower(text_[begin + i]) == word[i];
      }
      if (same) return begin + word.size();
    }
    for (const size_t skip : {1, 0}) {  // [^\r\n\p{L}\p{N}]?\p{L}+
      if (skip == 1 && (Is(begin, kLetter | kNumber) || Newline(begin))) continue;
      const size_t end = Run(begin + skip, [&](size_t i) { return Is(i, kLetter); });
      if (end > begin + skip) return end;
    }
    if (Is(begin, kNumber)) return begin + 1;
    {  // " "?[^\s\p{L}\p{N}]+[\r\n]*
      const size_t start = begin + (text_[begin] == ' ' ? 1 : 0);
      const size_t end =
          Run(start, [&](size_t i) { return !Is(i, kLetter | kNumber | kWhiteSpace); });
      if (end > start) return Run(end, [&](size_t i) { return Newline(i); });
    }
    const size_t space = Run(begin, [&](size_t i) { return Is(i, kWhiteSpace); });
    for (size_t end = space; end-- > begin;) {  // \s*[\r\n]+
      if (Newline(end)) return end + 1;
    }
    for (size_t end = space; end > begin; --end) {  // \s+(?!\S)
      if (end == text_.size() || Is(end, kWhiteSpace)) return end;
    }
    return space;  // \s+
  }

 private:
  static char32_t Lower(char32_t c) {
    if (c == 0x17F) return 's';
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
  }
  bool Is(size_t i, int classes) const { return ClassesOf(text_[i]) & classes; }
  bool Newline(size_t i) const { return text_[i] == '\r' || text_[i] == '\n'; }
  template <typename Predicate>
  size_t Run(size_t i, Predicate predicate) const {
    while (i < text_.size() && predicate(i)) ++i;
    return i;
  }

  const std::u32string& text_;
};

TEST(Pretokenizer, AgreesWithTheRuleReadPlainly) {
  const std::u32string alphabet =
      U"aZsStTrReEvVlLmMdD\u017F\u212A中é\u0301\u00AA09\u00BD\u0663  "
      U"\t\r\n\n\u0085\u00A0\u2028\u3000''!_-\U0001F600\uFFFF";
  std::mt19937 random(1);
  for (int round = 0; round < 300000; ++round) {
    std::u32string text;
    for (size_t n = 1 + random() % 14; n > 0; --n) text += alphabet[random() % alphabet.size()];
    std::vector<std::string> want;
    const PlainRule rule(text);
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = rule.PieceEnd(begin);
      want.emplace_back();
      for (; begin < end; ++begin) AppendUtf8(text[begin], want.back());
    }
    std::string utf8;
    for (const char32_t c : text) AppendUtf8(c, utf8);
    ASSERT_EQ(Split(utf8), want) << testing::PrintToString(utf8);
  }
}

}  // namespace
}  // namespace kvasir
