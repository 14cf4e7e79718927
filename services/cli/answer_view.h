#ifndef KVASIR_SERVICES_CLI_ANSWER_VIEW_H_
#define KVASIR_SERVICES_CLI_ANSWER_VIEW_H_

#include <functional>
#include <string>
#include <string_view>

#include "services/cli/markdown_colours.h"
#include "services/thinking_splitter.h"

namespace kvasir::cli {

// Shows an answer as it comes: what the model thinks before it (<think>...</think>) dim or not at
// all, Markdown as it is written, in colours. Without colours, and with nothing hidden, all that is
// written is shown as it is.
class AnswerView {
 public:
  struct Style {
    bool colours = false;
    bool hide_thinking = false;
  };
  using Out = std::function<void(std::string_view text)>;

  // `begins_thinking`: the answer's first text is thought, its <think> not part of it.
  AnswerView(Style style, bool begins_thinking, Out out);

  // Pieces of well-formed UTF-8.
  void Write(std::string_view piece);
  // Shows what was held back, and leaves the terminal's colours as they were.
  void Finish();

 private:
  void Show(ThinkingSplitter::Part part, std::string_view text);

  const Style style_;
  const Out out_;
  ThinkingSplitter splitter_;
  MarkdownColours markdown_;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_ANSWER_VIEW_H_
