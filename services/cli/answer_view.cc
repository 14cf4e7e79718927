#include "services/cli/answer_view.h"

#include <utility>

namespace kvasir::cli {
namespace {

constexpr std::string_view kDim = "\033[2m", kPlain = "\033[0m";

}  // namespace

AnswerView::AnswerView(Style style, bool begins_thinking, Out out)
    : style_(style),
      out_(std::move(out)),
      splitter_([this](auto part, std::string_view text) { Show(part, text); }) {
  if (begins_thinking) splitter_.BeginThinking();
}

void AnswerView::Write(std::string_view piece) {
  if (!style_.colours && !style_.hide_thinking) return out_(piece);
  splitter_.Write(piece);
}

void AnswerView::Show(ThinkingSplitter::Part part, std::string_view text) {
  switch (part) {
    case ThinkingSplitter::Part::kThinkingBegins:
      if (!style_.colours) return;
      out_(kDim);
      if (style_.hide_thinking) out_("(thinking ...)");
      return;
    case ThinkingSplitter::Part::kThought:
      if (!style_.hide_thinking) out_(text);
      return;
    case ThinkingSplitter::Part::kThinkingEnds:
      if (!style_.colours) return;
      out_(kPlain);
      out_(style_.hide_thinking ? "\n" : "\n\n");
      return;
    case ThinkingSplitter::Part::kAnswer:
      out_(style_.colours ? markdown_.Paint(text) : std::string(text));
      return;
  }
}

void AnswerView::Finish() {
  const bool thinking = splitter_.thinking();
  splitter_.Finish();
  if (!style_.colours) return;
  if (thinking) out_(kPlain);
  out_(markdown_.Finish());
}

}  // namespace kvasir::cli
