#ifndef KVASIR_SERVICES_GATEWAY_ANSWER_PARSER_H_
#define KVASIR_SERVICES_GATEWAY_ANSWER_PARSER_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "services/thinking_splitter.h"
#include "tokenizer/chat_template.h"

namespace kvasir::gateway {

// What a part of an answer adds to the message that it becomes.
struct AnswerPiece {
  std::string reasoning;
  std::string content;
  std::vector<ToolCall> tool_calls;  // without ids

  bool empty() const { return reasoning.empty() && content.empty() && tool_calls.empty(); }
};

// {"name": ..., "arguments": {...}}: the call, its arguments as they are written. Nothing for what
// is no such object.
std::optional<ToolCall> ParseToolCall(std::string_view json);

// Reads an answer as it comes: thought, text, and, where tools were offered, calls in
// <tool_call>...</tool_call>, each given out once it is whole. A call that is none stays text. The
// line ends that the chat template puts around thought and calls are not part of them; all else is
// as it was written, so that the template makes the same of it in the next turn.
class AnswerParser {
 public:
  // `begins_thinking`: the answer's first text is thought.
  AnswerParser(bool begins_thinking, bool parses_tool_calls);
  AnswerParser(const AnswerParser&) = delete;
  AnswerParser& operator=(const AnswerParser&) = delete;

  AnswerPiece Push(std::string_view text);
  AnswerPiece Finish();
  bool thinking() const { return splitter_.thinking(); }

 private:
  void Think(std::string_view text);
  void Answer(std::string_view text);
  // Takes from pending_ what is known; false where more must come first.
  bool Step();
  void AddContent(std::string_view text);

  const bool parses_tool_calls_;
  ThinkingSplitter splitter_;
  AnswerPiece piece_;             // of this Push
  std::string thought_newlines_;  // behind the thought so far
  bool thought_begun_ = false;
  std::string pending_;  // of the answer
  bool in_call_ = false;
  bool after_call_ = false;
};

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_ANSWER_PARSER_H_
