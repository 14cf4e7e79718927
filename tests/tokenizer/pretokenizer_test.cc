#include "tokenizer/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <vector>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

using ::testing::ElementsAre;

// `room`: for how many pieces at a time.
std::vector<std::string> Split(std::string_view text, SplitRule rule = SplitRule::kQwen2,
                               size_t room = 3) {
  std::vector<std::string> pieces;
  Splitter splitter(rule, text);
  std::vector<std::string_view> next(room);
  while (const size_t count = splitter.Next(next)) {
    pieces.insert(pieces.end(), next.begin(), next.begin() + static_cast<ptrdiff_t>(count));
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

TEST(Pretokenizer, DigitsAsTheRuleSays) {
  EXPECT_THAT(Split("a1234567 89", SplitRule::kLlama3),
              ElementsAre("a", "123", "456", "7", " ", "89"));
  EXPECT_THAT(Split("a1234567 89", SplitRule::kGpt2), ElementsAre("a", "1234567", " 89"));
}

TEST(Pretokenizer, Gpt2LeadsWordsByASpaceOnly) {
  EXPECT_THAT(Split("(a \tb", SplitRule::kGpt2), ElementsAre("(", "a", " ", "\t", "b"));
  EXPECT_THAT(Split("it's I'LL", SplitRule::kGpt2), ElementsAre("it", "'s", " I", "'", "LL"));
  EXPECT_THAT(Split("!\n\n b", SplitRule::kGpt2), ElementsAre("!", "\n\n", " b"));
}

// The rules once more, alternative by alternative with their backtracking written out: slow, and
// sharing only the class tables.
class PlainRule {
 public:
  PlainRule(SplitRule rule, const std::u32string& text) : rule_(rule), text_(text) {}

  size_t PieceEnd(size_t begin) const {
    for (const std::u32string word : {U"'s", U"'t", U"'re", U"'ve", U"'m", U"'ll", U"'d"}) {
      bool same = begin + word.size() <= text_.size();
      for (size_t i = 0; same && i < word.size(); ++i) {
        const char32_t c = text_[begin + i];
        same = (rule_ == SplitRule::kGpt2 ? c : Lower(c)) == word[i];
      }
      if (same) return begin + word.size();
    }
    return rule_ == SplitRule::kGpt2 ? Gpt2WordEnd(begin) : TiktokenWordEnd(begin);
  }

 private:
  size_t Gpt2WordEnd(size_t begin) const {
    const size_t start = begin + (text_[begin] == ' ' ? 1 : 0);
    for (const int wanted : {kLetter + 0, kNumber + 0, 0}) {  // " "?\p{L}+ and so on
      const size_t end = Run(start, [&](size_t i) {
        return (ClassesOf(text_[i]) & (kLetter | kNumber | kWhiteSpace)) == wanted;
      });
      if (end > start) return end;
    }
    return SpaceEnd(begin);
  }

  size_t TiktokenWordEnd(size_t begin) const {
    for (const size_t skip : {1, 0}) {  // [^\r\n\p{L}\p{N}]?\p{L}+
      if (skip == 1 && (Is(begin, kLetter | kNumber) || Newline(begin))) continue;
      const size_t end = Run(begin + skip, [&](size_t i) { return Is(i, kLetter); });
      if (end > begin + skip) return end;
    }
    if (Is(begin, kNumber)) {  // \p{N} or \p{N}{1,3}
      const size_t most = rule_ == SplitRule::kLlama3 ? 3 : 1;
      return std::min(begin + most, Run(begin, [&](size_t i) { return Is(i, kNumber); }));
    }
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
    return SpaceEnd(begin);
  }

  size_t SpaceEnd(size_t begin) const {
    const size_t space = Run(begin, [&](size_t i) { return Is(i, kWhiteSpace); });
    for (size_t end = space; end > begin; --end) {  // \s+(?!\S)
      if (end == text_.size() || Is(end, kWhiteSpace)) return end;
    }
    return space;  // \s+
  }

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

  SplitRule rule_;
  const std::u32string& text_;
};

TEST(Pretokenizer, AgreesWithTheRulesReadPlainly) {
  const std::u32string alphabet =
      U"aZsStTrReEvVlLmMdD\u017F\u212A中é\u0301\u00AA09\u00BD\u0663  "
      U"\t\r\n\n\u0085\u00A0\u2028\u3000''!_-\U0001F600\uFFFF";
  const std::u32string ascii = U"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'1 @[`{\n";
  std::mt19937 random(1);
  for (int round = 0; round < 300000; ++round) {
    const SplitRule rule =
        std::array{SplitRule::kQwen2, SplitRule::kLlama3, SplitRule::kGpt2}[round % 3];
    std::u32string text;
    // Long ASCII words take a way of their own.
    const std::u32string& from = random() % 4 ? alphabet : ascii;
    for (size_t n = 1 + random() % (random() % 8 ? 14 : 60); n > 0; --n) {
      text += from[random() % from.size()];
    }
    std::vector<std::string> want;
    const PlainRule plain(rule, text);
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = plain.PieceEnd(begin);
      want.emplace_back();
      for (; begin < end; ++begin) AppendUtf8(text[begin], want.back());
    }
    std::string utf8;
    for (const char32_t c : text) AppendUtf8(c, utf8);
    ASSERT_EQ(Split(utf8, rule, 1 + random() % 5), want) << testing::PrintToString(utf8);
  }
}

}  // namespace
}  // namespace kvasir
