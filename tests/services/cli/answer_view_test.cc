#include "services/cli/answer_view.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kvasir::cli {
namespace {

// The escape sequences by names: [dim], [/] and so on.
std::string Named(std::string text) {
  for (const auto& [sequence, name] :
       std::vector<std::pair<std::string, std::string>>{{"\033[2m", "[dim]"},
                                                        {"\033[0m", "[/]"},
                                                        {"\033[1m", "[bold]"},
                                                        {"\033[36m", "[code]"}}) {
    for (size_t at = 0; (at = text.find(sequence, at)) != std::string::npos;) {
      text.replace(at, sequence.size(), name);
    }
  }
  return text;
}

// What is shown of `text`, which comes in pieces of `size` bytes.
std::string Shown(std::string_view text, AnswerView::Style style, size_t size,
                  bool begins_thinking = false) {
  std::string shown;
  AnswerView view(style, begins_thinking, [&](std::string_view piece) { shown += piece; });
  for (size_t at = 0; at < text.size(); at += size) view.Write(text.substr(at, size));
  view.Finish();
  return Named(shown);
}

// However it is cut.
void ExpectShown(std::string_view text, AnswerView::Style style, const std::string& expected,
                 bool begins_thinking = false) {
  for (const size_t size : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, text.size()}) {
    EXPECT_EQ(Shown(text, style, size, begins_thinking), expected) << size << " bytes at a time";
  }
}

constexpr AnswerView::Style kPipe = {}, kPipeHidden = {.hide_thinking = true},
                            kTerminal = {.colours = true},
                            kTerminalHidden = {.colours = true, .hide_thinking = true};
constexpr std::string_view kThought = "<think>\nhm < 3\n</think>\n\nYes, <think> so.";

TEST(AnswerView, InAPipeAllIsAsItWasWritten) {
  ExpectShown(kThought, kPipe, std::string(kThought));
  ExpectShown("**a** `b`\n# c", kPipe, "**a** `b`\n# c");
}

TEST(AnswerView, ThinkingIsDim) {
  ExpectShown(kThought, kTerminal, "[dim]\nhm < 3\n[/]\n\nYes, <think> so.[/]");
  ExpectShown("hm\n</think>\n\nYes.", kTerminal, "[dim]hm\n[/]\n\nYes.[/]", true);
  ExpectShown("<thin ice", kTerminal, "<thin ice[/]");
}

TEST(AnswerView, ThinkingIsHidden) {
  ExpectShown(kThought, kPipeHidden, "Yes, <think> so.");
  ExpectShown(kThought, kTerminalHidden, "[dim](thinking ...)[/]\nYes, <think> so.[/]");
  ExpectShown("hm\n</think>\n\nYes.", kPipeHidden, "Yes.", true);
  ExpectShown("No thought.", kPipeHidden, "No thought.");
}

TEST(AnswerView, ThinkingThatIsCutShortEnds) {
  ExpectShown("<think>\nhm </thi", kTerminal, "[dim]\nhm </thi[/][/]");
  ExpectShown("<think>\nhm", kPipeHidden, "");
  ExpectShown("<thi", kTerminal, "<thi[/]");
  ExpectShown("\n <thi", kPipeHidden, "\n <thi");
}

TEST(AnswerView, MarkdownKeepsItsMarks) {
  ExpectShown("a **b** c", kTerminal, "a [/][bold]**b**[/] c[/]");
  ExpectShown("# T\nx", kTerminal, "[/][bold]# T[/]\nx[/]");
  ExpectShown("use `x**y`, ok", kTerminal, "use [/][code]`x**y`[/], ok[/]");
  ExpectShown("```c\n# a **b**\n```\nz", kTerminal, "[code]```c\n# a **b**\n```[/]\nz[/]");
  ExpectShown("* one\n* two * 3\n# 7 #", kTerminal, "* one\n* two * 3\n[/][bold]# 7 #[/]");
  ExpectShown("**open\nnext", kTerminal, "[/][bold]**open[/]\nnext[/]");
}

TEST(AnswerView, MarkdownWithoutColoursIsTheText) {
  const std::string text = "# T **b** `c`\n```\nx\n```\n* y\n####### z\n**";
  std::string plain = Shown(text, kTerminal, 1);
  for (const char* name : {"[bold]", "[code]", "[/]"}) {
    for (size_t at = 0; (at = plain.find(name)) != std::string::npos;) {
      plain.erase(at, std::string(name).size());
    }
  }
  EXPECT_EQ(plain, text);
}

}  // namespace
}  // namespace kvasir::cli
