// Answers as they come: stop strings, thought, tool calls, log-probabilities; however they are cut.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "services/gateway/answer_parser.h"
#include "services/gateway/answer_reader.h"
#include "services/gateway/stop_matcher.h"

namespace kvasir::gateway {
namespace {

using ::testing::IsEmpty;

// All ways to cut a text in up to three pieces.
std::vector<std::vector<std::string>> Cuts(const std::string& text) {
  std::vector<std::vector<std::string>> cuts;
  for (size_t i = 0; i <= text.size(); ++i) {
    for (size_t j = i; j <= text.size(); ++j) {
      cuts.push_back({text.substr(0, i), text.substr(i, j - i), text.substr(j)});
    }
  }
  return cuts;
}

std::string Stopped(const std::vector<std::string>& pieces, std::vector<std::string> words) {
  StopMatcher matcher(std::move(words));
  std::string text;
  for (const std::string& piece : pieces) text += matcher.Push(piece);
  return matcher.stopped() ? text + "|" : text + matcher.Finish();
}

TEST(StopMatcherTest, StopsBeforeTheWordHoweverTheTextIsCut) {
  struct Case {
    std::string text;
    std::vector<std::string> words;
    std::string expected;
  };
  const std::vector<Case> cases = {
      {"say no more", {"no"}, "say |"},
      {"say no more", {"nothing"}, "say no more"},
      {"aab", {"ab"}, "a|"},
      {"ababac", {"abac"}, "ab|"},
      {"ab", {"abc", "b"}, "a|"},     // the one that is whole first
      {"xabc", {"abc", "bc"}, "x|"},  // of those that end together the longest
      {"abcd", {"abcde", "bc"}, "a|"},
      {"a\n\nb", {"\n\n"}, "a|"},
      {"no", {"no"}, "|"},
      {"caf\xC3\xA9!", {"\xC3\xA9"}, "caf|"},
  };
  for (const Case& one : cases) {
    for (const auto& pieces : Cuts(one.text)) {
      EXPECT_EQ(Stopped(pieces, one.words), one.expected) << one.text;
    }
  }
}

TEST(StopMatcherTest, HoldsBackOnlyWhatMayBecomeAWord) {
  StopMatcher matcher({"END", "EXIT"});
  EXPECT_EQ(matcher.Push("the E"), "the ");
  EXPECT_EQ(matcher.Push("N"), "");
  EXPECT_EQ(matcher.Push("E"), "EN");
  EXPECT_EQ(matcher.Push("at"), "Eat");
  EXPECT_EQ(matcher.Push("END"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.Push("more"), "");
}

std::string Shown(const AnswerPiece& piece) {
  std::string shown = "[" + piece.reasoning + "](" + piece.content + ")";
  for (const ToolCall& call : piece.tool_calls) shown += call.name + call.arguments;
  return shown;
}

std::string Parsed(const std::vector<std::string>& pieces, bool thinks, bool tools) {
  AnswerParser parser(thinks, tools);
  AnswerDelta whole;
  for (const std::string& piece : pieces) Append({.piece = parser.Push(piece)}, whole);
  Append({.piece = parser.Finish()}, whole);
  return Shown(whole.piece);
}

TEST(AnswerParserTest, TellsThoughtTextAndCallsApartHoweverTheyAreCut) {
  struct Case {
    std::string text, expected;
    bool thinks = false, tools = true;
  };
  const std::vector<Case> cases = {
      {"Hi.\n", "[](Hi.\n)"},
      {"<think>\na\n\nb\n</think>\n\nHi", "[a\n\nb](Hi)"},
      {"\na\n</think>\nHi", "[a](Hi)", true},
      {"<think>a", "[a]()"},
      {" <b>", "[]( <b>)"},
      {"<tool_call>{\"name\":\"f\",\"arguments\":{ }}</tool_call>", "[]()f{ }"},
      {"A\n<tool_call>{\"arguments\":{\"x\": [1]},\"name\":\"f\"}</tool_call>\n",
       "[](A)f{\"x\": [1]}"},
      {"<tool_call>1</tool_call>", "[](<tool_call>1</tool_call>)"},
      {"<tool_call>{\"name\"", "[](<tool_call>{\"name\")"},
      {"<tool_call>{}</tool_call>", "[](<tool_call>{}</tool_call>)", false, false},
      {"<tool_cal", "[](<tool_cal)"},
  };
  for (const Case& one : cases) {
    for (const auto& pieces : Cuts(one.text)) {
      EXPECT_EQ(Parsed(pieces, one.thinks, one.tools), one.expected) << one.text;
    }
  }
}

TEST(ParseToolCallTest, KeepsArgumentsAsTheyAreWritten) {
  const auto arguments = [](std::string_view json) {
    const std::optional<ToolCall> call = ParseToolCall(json);
    return call.has_value() ? call->name + call->arguments : "none";
  };
  EXPECT_EQ(arguments(R"( {"name": "f", "arguments": {"a" : {"name": 1}} } )"),
            R"(f{"a" : {"name": 1}})");
  EXPECT_EQ(arguments(R"({"name": "f", "arguments": "{\"a\": 1}"})"), R"(f{"a": 1})");
  EXPECT_EQ(arguments(R"({"name": "f", "x": {"arguments": 1}, "arguments": {}})"), "f{}");
  for (const char* broken :
       {"", "{}", "[]", R"({"name": "f"})", R"({"name": 1, "arguments": {}})",
        R"({"name": "", "arguments": {}})", R"({"name": "f", "arguments": [1]})",
        R"({"name": "f", "arguments": {}} x)", R"([{"name": "f", "arguments": {}}])"}) {
    EXPECT_EQ(arguments(broken), "none") << broken;
  }
  const std::string deep(100'000, '[');
  EXPECT_EQ(arguments(R"({"name": "f", "arguments": )" + deep), "none");
}

// Ids 0 to 255 are bytes, 256 is special, 257 is added and text.
TokenTable ByteTable() {
  std::vector<std::string> bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.emplace_back(1, static_cast<char>(byte));
  bytes.insert(bytes.end(), {"<|end|>", "<think>"});
  const std::vector<TokenTable::Added> added = {{256, true}, {257, false}};
  return {bytes, added};
}

TokenIds Bytes(std::string_view text) {
  TokenIds ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::vector<TokenScore> Scores(const TokenIds& ids) {
  std::vector<TokenScore> scores;
  for (const uint32_t id : ids) scores.push_back({id, -1.0f, {}});
  return scores;
}

TEST(AnswerReaderTest, ScoresComeWithTheText) {
  const TokenTable table = ByteTable();
  AnswerReader reader(table, {.stop = {"STOP"}});
  const TokenIds first = Bytes("ab S");
  AnswerDelta delta = reader.Push(first, Scores(first));
  EXPECT_EQ(delta.piece.content, "ab ");
  ASSERT_EQ(delta.scores.size(), 3) << "that of S waits as S does";
  EXPECT_EQ(delta.scores[2].offset, 2);
  const TokenIds second = Bytes("TOPS");
  delta = reader.Push(second, Scores(second));
  EXPECT_TRUE(delta.piece.empty());
  EXPECT_THAT(delta.scores, IsEmpty());
  EXPECT_EQ(delta.finished, FinishedBy::kStop);
  EXPECT_TRUE(reader.stopped());
  EXPECT_EQ(reader.tokens(), 8 - 1) << "what came after is not counted";
}

TEST(AnswerReaderTest, SpecialTokensAreNoText) {
  const TokenTable table = ByteTable();
  AnswerReader reader(table, {});
  TokenIds ids = {257};
  for (const uint32_t id : Bytes("x</think>y")) ids.push_back(id);
  ids.push_back(256);
  AnswerDelta whole = reader.Push(ids, Scores(ids));
  Append(reader.Finish(/*by_length=*/false), whole);
  EXPECT_EQ(Shown(whole.piece), "[x](y)");
  EXPECT_EQ(whole.scores.size(), ids.size() - 1);
  EXPECT_EQ(whole.finished, FinishedBy::kStop);
}

TEST(AnswerReaderTest, HalfACharacterAtTheEndIsAReplacement) {
  const TokenTable table = ByteTable();
  AnswerReader reader(table, {.plain = true});
  AnswerDelta whole = reader.Push(Bytes("a\xF0\x9F"), {});
  EXPECT_EQ(whole.piece.content, "a");
  Append(reader.Finish(/*by_length=*/true), whole);
  EXPECT_EQ(whole.piece.content, "a\xEF\xBF\xBD");
  EXPECT_EQ(whole.finished, FinishedBy::kLength);
}

}  // namespace
}  // namespace kvasir::gateway
