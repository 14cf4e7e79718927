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
  absl::StatusOr<ChatTemplate> parsed =
      ChatTemplate::Parse(tokenizer.chat_template(), NamedTokens(tokenizer.special_tokens()));
  if (!parsed.ok()) {
    return absl::FailedPreconditionError(absl::StrCat("unusable ", parsed.status().message()));
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

std::map<std::string, std::string> NamedTokens(const SpecialTokens& tokens) {
  return {{"bos_token", tokens.bos}, {"eos_token", tokens.eos}, {"pad_token", tokens.pad}};
}

ChatRenderer::ChatRenderer(const Tokenizer& tokenizer)
    : tokenizer_(tokenizer), template_(ParseTemplate(tokenizer)) {
  if (template_.ok()) closing_ids_ = tokenizer.Encode(template_->closing());
}

absl::Status ChatRenderer::Render(const v1::ApplyChatTemplateRequest& request,
                                  v1::ApplyChatTemplateResponse& response) const {
  if (!template_.ok()) return template_.status();
  RenderedRest rest;
  if (request.has_from_message()) {
    const auto messages = static_cast<uint32_t>(request.messages_size());
    if (request.from_message() > messages) {
      return InvalidField("from_message",
                          absl::InvalidArgumentError(absl::StrCat(
                              "from_message: ", request.from_message(),
                              " is more than the conversation's ", messages, " messages")));
    }
    absl::StatusOr<RenderedRest> rendered =
        template_->RenderFrom(FromProto(request), request.from_message());
    if (!rendered.ok()) return Refused(rendered.status());
    rest = *std::move(rendered);
  } else {
    absl::StatusOr<RenderedChat> rendered = template_->Render(FromProto(request));
    if (!rendered.ok()) return Refused(rendered.status());
    rest.chat = *std::move(rendered);
  }
  const std::vector<uint32_t> ids =
      request.trust_content() ? tokenizer_.Encode(rest.chat.text)
                              : tokenizer_.EncodeTrusted(rest.chat.text, rest.chat.trusted);
  response.set_text(std::move(rest.chat.text));
  response.set_first_changed_message(static_cast<uint32_t>(rest.first_message));
  response.mutable_ids()->Add(ids.begin(), ids.end());
  response.mutable_closing_ids()->Add(closing_ids_.begin(), closing_ids_.end());
  return absl::OkStatus();
}

}  // namespace kvasir
