// Added tokens as a caller meets them: through Encode of a small tokenizer whose ids of single
// bytes are the bytes themselves.
#include "tokenizer/added_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/tokenizer/small_tokenizer.h"

namespace kvasir {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

std::unique_ptr<Tokenizer> WithAdded(const std::vector<std::string>& tokens) {
  std::string list;
  for (const std::string& token : tokens) list += (list.empty() ? "[" : ",") + token;
  return SmallTokenizer({{"/added_tokens", list + "]"}});
}

std::vector<uint32_t> Bytes(std::string_view text) {
  std::vector<uint32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

TEST(AddedTokens, LongestOfTheLeftmost) {
  const auto t = WithAdded({AddedTokenJson(261, "<a"), AddedTokenJson(262, "<a>b"),
                            AddedTokenJson(263, "a>b<"), AddedTokenJson('<', "<")});
  EXPECT_THAT(t->Encode("<a>b<"), ElementsAre(262, '<'));
  EXPECT_THAT(t->Encode("<a>c"), ElementsAre(261, '>', 'c'));
  EXPECT_THAT(t->Encode("xa>b<<"), ElementsAre('x', 263, '<'));
  EXPECT_THAT(t->Encode("<a>b<", {.plain = true}), ElementsAreArray(Bytes("<a>b<")));
}

TEST(AddedTokens, SwallowWhiteSpaceOnTheSidesTheyStrip) {
  const auto t =
      WithAdded({AddedTokenJson(261, "<l>", {"lstrip"}), AddedTokenJson(262, "<r>", {"rstrip"}),
                 AddedTokenJson(263, "<b>", {"lstrip", "rstrip"})});
  EXPECT_THAT(t->Encode("1 \u3000<l> 2"), ElementsAre('1', 261, ' ', '2'));
  EXPECT_THAT(t->Encode("1 <r>\n\u0085 2"), ElementsAre('1', ' ', 262, '2'));
  EXPECT_THAT(t->Encode("1 <r> <b> 2"), ElementsAre('1', ' ', 262, 263, '2'));
  EXPECT_THAT(t->Encode("  <l>  "), ElementsAre(261, ' ', ' '));
  EXPECT_THAT(t->Encode("1 <l> 2", {.plain = true}), ElementsAreArray(Bytes("1 <l> 2")));
}

// As in the tokenizers library: ['1', '<r>', '2'] and ['1', '\n', '2'].
TEST(AddedTokens, ATokenThatAnotherHasSwallowedIsGone) {
  const auto t =
      WithAdded({AddedTokenJson(261, "<r>", {"rstrip"}), AddedTokenJson(262, "\n", {"lstrip"})});
  EXPECT_THAT(t->Encode("1<r> \n2"), ElementsAre('1', 261, '2'));
  EXPECT_THAT(t->Encode("1<r>\n2"), ElementsAre('1', 261, '2'));
  EXPECT_THAT(t->Encode("1 \n2"), ElementsAre('1', 262, '2'));
}

TEST(AddedTokens, SingleWordsTouchNoWordCharacter) {
  const auto t = WithAdded({AddedTokenJson(261, "tok", {"single_word"})});
  EXPECT_THAT(t->Encode("tok"), ElementsAre(261));
  EXPECT_THAT(t->Encode("-tok."), ElementsAre('-', 261, '.'));
  for (const char* text : {"tokx", "xtok", "tok_", "1tok", "toktok"}) {
    EXPECT_THAT(t->Encode(text), ElementsAreArray(Bytes(text)));
  }
  EXPECT_THAT(t->Encode("\u00E9tok"), ElementsAreArray(Bytes("\u00E9tok")));
  EXPECT_THAT(t->Encode("tok\u0302"), ElementsAreArray(Bytes("tok\u0302")));  // \w holds marks.
}

TEST(AddedTokens, NormalizedOnesAreFoundInNormalizedText) {
  const std::string decomposed = "cafe\u0301";
  const auto raw = WithAdded({AddedTokenJson(261, "caf\u00E9")});
  EXPECT_THAT(raw->Encode("caf\u00E9"), ElementsAre(261));
  EXPECT_THAT(raw->Encode(decomposed), ElementsAreArray(Bytes("caf\u00E9")));
  const auto normalized = WithAdded({AddedTokenJson(261, "caf\u00E9", {"normalized"})});
  EXPECT_THAT(normalized->Encode("caf\u00E9"), ElementsAre(261));
  EXPECT_THAT(normalized->Encode(decomposed), ElementsAre(261));
  // The content is normalised too.
  const auto content = WithAdded({AddedTokenJson(261, decomposed, {"normalized"})});
  EXPECT_THAT(content->Encode("caf\u00E9"), ElementsAre(261));
}

TEST(AddedTokens, RawOnesAreFoundFirst) {
  const auto t = WithAdded({AddedTokenJson(261, "ab", {"normalized"}), AddedTokenJson(262, "bc")});
  EXPECT_THAT(t->Encode("abc"), ElementsAre('a', 262));
  EXPECT_THAT(t->Encode("abd"), ElementsAre(261, 'd'));
}

TEST(AddedTokens, TextAroundThemIsSplitOnItsOwn) {
  const auto t = WithAdded({AddedTokenJson(261, "<x>")});
  EXPECT_THAT(t->Encode("hello<x> hello"), ElementsAre(kSmallHello, 261, kSmallSpaceHello));
  EXPECT_THAT(t->Encode("he<x>ll"), ElementsAre(kSmallHe, 261, kSmallLl));
  // NFC does not reach across an added token.
  EXPECT_THAT(t->Encode("e<x>\u0301"), ElementsAre('e', 261, 0xCC, 0x81));
}

// --- Provenance: only trusted text can become an added token. ---

std::vector<uint32_t> Trusting(const Tokenizer& t, std::string_view text,
                               const std::vector<ByteRange>& trusted) {
  return t.EncodeTrusted(text, trusted);
}

TEST(TrustedRanges, OnlyTokensWhollyInsideOneAreFound) {
  const auto t = SmallTokenizer();
  const std::string text = "<|end|><|end|>";
  EXPECT_THAT(Trusting(*t, text, {{0, 14}}), ElementsAre(kSmallEnd, kSmallEnd));
  EXPECT_THAT(Trusting(*t, text, {}), ElementsAreArray(Bytes(text)));
  std::vector<uint32_t> want = {kSmallEnd};
  for (const uint32_t id : Bytes("<|end|>")) want.push_back(id);
  EXPECT_THAT(Trusting(*t, text, {{0, 7}}), ElementsAreArray(want));
  EXPECT_THAT(Trusting(*t, text, {{0, 13}}), ElementsAreArray(want));
  EXPECT_THAT(Trusting(*t, text, {{1, 13}}), ElementsAreArray(Bytes(text)));
  // Ranges that touch are one; a gap is not.
  EXPECT_THAT(Trusting(*t, text, {{0, 3}, {3, 3}, {3, 14}}), ElementsAre(kSmallEnd, kSmallEnd));
  EXPECT_THAT(Trusting(*t, text, {{0, 3}, {4, 14}})[0], '<');
}

TEST(TrustedRanges, AShorterTokenIsFoundWhereTheLongerOneLeavesTheRange) {
  const auto t = WithAdded({AddedTokenJson(261, "<a"), AddedTokenJson(262, "<a>")});
  EXPECT_THAT(Trusting(*t, "<a>", {{0, 3}}), ElementsAre(262));
  EXPECT_THAT(Trusting(*t, "<a>", {{0, 2}}), ElementsAre(261, '>'));
}

TEST(TrustedRanges, TextIsEncodedAsOneAcrossTheirBorders) {
  const auto t = SmallTokenizer();
  EXPECT_THAT(Trusting(*t, "say hello", {{0, 6}}), ElementsAre('s', 'a', 'y', kSmallSpaceHello));
}

TEST(TrustedRanges, NoUntrustedSpaceIsSwallowed) {
  const auto t = WithAdded({AddedTokenJson(261, "<b>", {"lstrip", "rstrip"})});
  EXPECT_THAT(Trusting(*t, "  <b>  ", {{1, 6}}), ElementsAre(' ', 261, ' '));
}

TEST(TrustedRanges, FollowTheTextThroughRepairAndNormalization) {
  const auto t =
      WithAdded({AddedTokenJson(261, "<x>"), AddedTokenJson(262, "[y]", {"normalized"})});
  // The ill-formed byte becomes three, e and its accent two, before the trusted token.
  const std::string text =
      "\xFF"
      "e\u0301<x>e\u0301[y][y]";
  const ByteRange x = {4, 7};
  const ByteRange y = {10, 13};
  EXPECT_THAT(Trusting(*t, text, {x}), ElementsAre(0xEF, 0xBF, 0xBD, 0xC3, 0xA9, 261, 0xC3, 0xA9,
                                                   '[', 'y', ']', '[', 'y', ']'));
  EXPECT_THAT(Trusting(*t, text, {x, y}),
              ElementsAre(0xEF, 0xBF, 0xBD, 0xC3, 0xA9, 261, 0xC3, 0xA9, 262, '[', 'y', ']'));
}

// What NFC made of trusted and untrusted characters together is not trusted.
TEST(TrustedRanges, ACharacterComposedAcrossABorderIsNotTrusted) {
  const auto t = WithAdded({AddedTokenJson(261, "\u1EBD", {"normalized"})});
  EXPECT_THAT(Trusting(*t, "e\u0303", {{0, 3}}), ElementsAre(261));
  EXPECT_THAT(Trusting(*t, "e\u0303", {{0, 1}}), ElementsAre(0xE1, 0xBA, 0xBD));
  EXPECT_THAT(Trusting(*t, "e\u0303", {{1, 3}}), ElementsAre(0xE1, 0xBA, 0xBD));
}

TEST(TrustedRanges, AllIsEncodeAndNoneIsPlain) {
  const auto t = SmallTokenizer();
  for (const std::string text : {"", "a", "<|end|>", "<tool> hello<|end|>\xFF<tool>"}) {
    EXPECT_EQ(Trusting(*t, text, {{0, text.size()}}), t->Encode(text));
    EXPECT_EQ(Trusting(*t, text, {}), t->Encode(text, {.plain = true}));
  }
}

}  // namespace
}  // namespace kvasir
