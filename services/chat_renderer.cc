#include "services/chat_renderer.h"

#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/tokenizer_errors.h"

namespace kvasir {
namespace {

absl::StatusOr<ChatTemplate> ParseTemplate(const Tokenizer& tokenizer) {
  if (tokenizer.chat_template().empty()) {
    return absl::FailedPreconditionError("the model has no chat template");
  }
  const SpecialTokens& special = tokenizer.special_tokens();
  absl::StatusOr<ChatTemplate> parsed = ChatTemplate::Parse(
      tokenizer.chat_template(),
      {{"bos_token", special.bos}, {"eos_token", special.eos}, {"pad_token", special.pad}});
  if (!parsed.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the model's chat template cannot be used: ", parsed.status().message()));
  }
  return parsed;
}

ChatMessage FromProto(const v1::ChatMessage& proto) {
  ChatMessage message;
  message.role = proto.role();
  if (proto.has_content()) message.content = proto.content();
  if (proto.has_reasoning_content()) message.reasoning_content = proto.reasoning_content();
  for (const v1::ToolCall& call : proto.tool_calls()) {
    message.tool_calls.push_back({call.id(), call.name(), call.arguments()});
  }
  message.name = proto.name();
  message.tool_call_id = proto.tool_call_id();
  return message;
}

Conversation FromProto(const v1::ApplyChatTemplateRequest& proto) {
  Conversation conversation;
  for (const v1::ChatMessage& message : proto.messages()) {
    conversation.messages.push_back(FromProto(message));
  }
  conversation.tools.assign(proto.tools().begin(), proto.tools().end());
  conversation.add_generation_prompt =
      !proto.has_add_generation_prompt() || proto.add_generation_prompt();
  conversation.template_arguments = proto.template_arguments();
  return conversation;
}

// Names the field of the request: what the message begins with, or the conversation, where the
// template itself refused it.
absl::Status Refused(const absl::Status& status) {
  const std::string message(status.message());
  const std::string_view start = std::string_view(message).substr(0, message.find(':'));
  for (std::string_view field : {"messages", "tools", "template_arguments"}) {
    if (start.starts_with(field)) return InvalidField(start, status);
  }
  return InvalidField("messages", absl::Status(status.code(), absl::StrCat("messages: ", message)));
}

}  // namespace

ChatRenderer::ChatRenderer(const Tokenizer& tokenizer)
    : tokenizer_(tokenizer), template_(ParseTemplate(tokenizer)), closing_ids_(ClosingIds()) {}

// What stands after the answer in a conversation that ends with one.
std::vector<uint32_t> ChatRenderer::ClosingIds() const {
  if (!template_.ok()) return {};
  constexpr std::string_view kAnswer = "answer";
  Conversation conversation;
  conversation.messages.resize(2);
  conversation.messages[0].role = "user";
  conversation.messages[0].content = "question";
  conversation.messages[1].role = "assistant";
  conversation.messages[1].content = kAnswer;
  conversation.add_generation_prompt = false;
  const absl::StatusOr<RenderedChat> rendered = template_->Render(conversation);
  if (!rendered.ok()) return {};  // a template for other conversations than this
  const size_t answer = rendered->text.rfind(kAnswer);
  if (answer == std::string::npos) return {};
  return tokenizer_.Encode(std::string_view(rendered->text).substr(answer + kAnswer.size()));
}

absl::Status ChatRenderer::Render(const v1::ApplyChatTemplateRequest& request,
                                  v1::ApplyChatTemplateResponse& response) const {
  if (!template_.ok()) return template_.status();
  if (request.has_from_message()) {
    return absl::UnimplementedError("from_message: not implemented; leave it unset");
  }
  absl::StatusOr<RenderedChat> rendered = template_->Render(FromProto(request));
  if (!rendered.ok()) return Refused(rendered.status());
  const std::vector<uint32_t> ids =
      request.trust_content() ? tokenizer_.Encode(rendered->text)
                              : tokenizer_.EncodeTrusted(rendered->text, rendered->trusted);
  response.set_text(std::move(rendered->text));
  response.mutable_ids()->Add(ids.begin(), ids.end());
  response.mutable_closing_ids()->Add(closing_ids_.begin(), closing_ids_.end());
  return absl::OkStatus();
}

}  // namespace kvasir
