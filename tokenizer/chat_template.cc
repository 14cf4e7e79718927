#include "tokenizer/chat_template.h"

#include <utility>

#include "tokenizer/jinja/error.h"
#include "tokenizer/jinja/json_reader.h"

namespace kvasir {
namespace {

using jinja::Concat;
using jinja::Dict;
using jinja::List;
using jinja::Value;

Value FromCaller(std::string_view text) { return Value(jinja::Text(text, /*trusted=*/false)); }

absl::StatusOr<Value> JsonObject(std::string_view field, std::string_view json) {
  absl::StatusOr<Value> value = jinja::ReadJson(json);
  if (!value.ok()) {
    return absl::Status(value.status().code(),
                        Concat({field, ": ", std::string(value.status().message())}));
  }
  if (value->dict() == nullptr) {
    return jinja::Invalid({field, ": must be a JSON object, not a ", value->type_name()});
  }
  return value;
}

std::string Indexed(std::string_view field, size_t index) {
  return Concat({field, "[", std::to_string(index), "]"});
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::Parse(
    std::string_view source, const std::map<std::string, std::string>& special_tokens) {
  absl::StatusOr<jinja::Template> parsed = jinja::Template::Parse(source);
  if (!parsed.ok()) {
    return absl::Status(parsed.status().code(),
                        Concat({"chat template: ", std::string(parsed.status().message())}));
  }
  Dict variables;
  for (const auto& [name, text] : special_tokens) {
    if (!text.empty()) variables.Set(name, Value::Trusted(text));
  }
  return ChatTemplate(*std::move(parsed), std::move(variables));
}

absl::StatusOr<Value> ChatTemplate::MessageValue(const ChatMessage& message,
                                                 std::string_view field) const {
  Dict value;
  value.Set("role", FromCaller(message.role));
  if (message.content.has_value()) value.Set("content", FromCaller(*message.content));
  if (message.reasoning_content.has_value()) {
    value.Set("reasoning_content", FromCaller(*message.reasoning_content));
  }
  // A template that asks whether arguments are a string gets them as they were written, so that
  // what a model wrote renders byte for byte; any other expects the object.
  const bool as_written = template_.TestsAttribute("arguments", "string");
  std::vector<Value> calls;
  for (const ToolCall& call : message.tool_calls) {
    const std::string call_field = Indexed(Concat({field, ".tool_calls"}), calls.size());
    KVASIR_JINJA_ASSIGN_OR_RETURN(Value arguments,
                                  JsonObject(Concat({call_field, ".arguments"}), call.arguments));
    Dict function;
    function.Set("name", FromCaller(call.name));
    function.Set("arguments", as_written ? FromCaller(call.arguments) : std::move(arguments));
    Dict entry;
    if (!call.id.empty()) entry.Set("id", FromCaller(call.id));
    entry.Set("type", Value::Trusted("function"));
    entry.Set("function", Value(std::move(function)));
    calls.emplace_back(std::move(entry));
  }
  if (!calls.empty()) value.Set("tool_calls", Value(List(std::move(calls))));
  if (!message.name.empty()) value.Set("name", FromCaller(message.name));
  if (!message.tool_call_id.empty()) value.Set("tool_call_id", FromCaller(message.tool_call_id));
  return Value(std::move(value));
}

absl::StatusOr<RenderedChat> ChatTemplate::Render(const Conversation& conversation) const {
  Dict variables = special_tokens_;
  std::vector<Value> messages;
  for (const ChatMessage& message : conversation.messages) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(Value value,
                                  MessageValue(message, Indexed("messages", messages.size())));
    messages.push_back(std::move(value));
  }
  variables.Set("messages", Value(List(std::move(messages))));
  std::vector<Value> tools;
  for (const std::string& tool : conversation.tools) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(Value value, JsonObject(Indexed("tools", tools.size()), tool));
    tools.push_back(std::move(value));
  }
  variables.Set("tools", tools.empty() ? Value(Value::None()) : Value(List(std::move(tools))));
  variables.Set("documents", Value(Value::None()));
  variables.Set("add_generation_prompt", Value(conversation.add_generation_prompt));
  if (!conversation.template_arguments.empty()) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(
        const Value arguments, JsonObject("template_arguments", conversation.template_arguments));
    for (const Dict::Entry& entry : arguments.dict()->entries()) {
      const std::string& name = entry.key->bytes();
      if (name == "messages" || name == "tools" || name == "add_generation_prompt") {
        return jinja::Invalid({"template_arguments: '", name, "' is a field of its own"});
      }
      variables.Set(entry.key, entry.value);
    }
  }

  absl::StatusOr<jinja::Text> text = template_.Render(variables);
  if (!text.ok()) {
    return absl::Status(text.status().code(),
                        Concat({"chat template: ", std::string(text.status().message())}));
  }
  RenderedChat rendered;
  size_t begin = 0;
  for (const jinja::Text::Run& run : text->runs()) {
    if (run.trusted) rendered.trusted.push_back({begin, run.end});
    begin = run.end;
  }
  rendered.text = text->bytes();
  return rendered;
}

}  // namespace kvasir
