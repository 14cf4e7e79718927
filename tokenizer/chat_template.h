#ifndef KVASIR_TOKENIZER_CHAT_TEMPLATE_H_
#define KVASIR_TOKENIZER_CHAT_TEMPLATE_H_

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "tokenizer/byte_range.h"
#include "tokenizer/jinja/template.h"

namespace kvasir {

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // A JSON object.
};

// One message of a conversation. What is not set (or is empty, for the plain strings) does not
// exist for the template.
struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool".
  std::optional<std::string> content;
  std::optional<std::string> reasoning_content;
  std::vector<ToolCall> tool_calls;
  std::string name;
  std::string tool_call_id;
};

struct Conversation {
  std::vector<ChatMessage> messages;
  std::vector<std::string> tools;  // Each a JSON object, as in the OpenAI API.
  bool add_generation_prompt = true;
  std::string template_arguments;  // A JSON object of further variables; may be empty.
};

struct RenderedChat {
  std::string text;
  // What the template itself wrote: ascending, disjoint, none touching the next. All else came
  // from the conversation and must never become an added token (Tokenizer::EncodeTrusted).
  std::vector<ByteRange> trusted;
};

// The rendering of what follows a conversation's first messages.
struct RenderedRest {
  // The first message that it holds: the rendering of those before it is what it was when the
  // conversation ended there.
  size_t first_message = 0;
  RenderedChat chat;
};

// A model's chat template, in Jinja. Immutable: any number of threads may render at once.
class ChatTemplate {
 public:
  // `special_tokens`: variables such as bos_token and eos_token, empty ones left out.
  // INVALID_ARGUMENT names line, column and the construct that is broken or not supported.
  static absl::StatusOr<ChatTemplate> Parse(
      std::string_view source, const std::map<std::string, std::string>& special_tokens);

  // INVALID_ARGUMENT names the field that is no JSON object, or the place in the template that
  // refuses the conversation; RESOURCE_EXHAUSTED past a limit of jinja/limits.h.
  absl::StatusOr<RenderedChat> Render(const Conversation& conversation) const;

  // What of Render follows the first `from_message` messages, or, where the template renders some
  // of them otherwise than when the conversation ended after them, starts at the first that it
  // does. REQUIRES: from_message <= conversation.messages.size().
  absl::StatusOr<RenderedRest> RenderFrom(const Conversation& conversation,
                                          size_t from_message) const;

  // What the template puts after an assistant's answer; empty where it shows none.
  const std::string& closing() const { return closing_; }

 private:
  // What a template expects of its data, found out by trying.
  struct Expectations {
    bool arguments_as_written = false;  // Of tool calls: text in place of an object.
    bool null_content = false;          // None in place of nothing where there are tool calls.
    bool closed_by_eos = false;         // A text that invites no answer ends with eos_token.
  };
  struct Rendering;

  ChatTemplate(jinja::Template parsed, jinja::Dict special_tokens)
      : template_(std::move(parsed)), special_tokens_(std::move(special_tokens)) {}

  // Sets expects_ and closing_.
  void TryOut();
  // Of the eos_token that `text` ends with; 0 where it does not.
  size_t EosLength(std::string_view text) const;
  absl::StatusOr<jinja::Value> MessageValue(const ChatMessage& message,
                                            std::string_view field) const;
  absl::StatusOr<Rendering> Prepare(const Conversation& conversation) const;

  jinja::Template template_;
  jinja::Dict special_tokens_;
  Expectations expects_;
  std::string closing_;
};

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_CHAT_TEMPLATE_H_
