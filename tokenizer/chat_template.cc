#include "tokenizer/chat_template.h"

#include <ctime>
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

RenderedChat ToRenderedChat(const jinja::Text& text) {
  RenderedChat chat;
  size_t begin = 0;
  for (const jinja::Text::Run& run : text.runs()) {
    if (run.trusted) chat.trusted.push_back({begin, run.end});
    begin = run.end;
  }
  chat.text = text.bytes();
  return chat;
}

std::string Indexed(std::string_view field, size_t index) {
  return Concat({field, "[", std::to_string(index), "]"});
}

// Where a rendering can be cut: after so many messages.
struct Border {
  size_t messages = 0;
  size_t bytes = 0;
};

// The last border up to `most`. `border_after(count)`: its offset, or nothing where the rendering
// cannot be cut there.
template <typename BorderAfter>
Border LastBorder(size_t most, BorderAfter border_after) {
  // A template that rewrites does so from the last question on, a few messages back.
  constexpr size_t kNear = 8;
  size_t above = most + 1;  // No border known from here on.
  while (above > 0 && most + 1 - above < kNear) {
    --above;
    if (const std::optional<size_t> bytes = border_after(above)) return {above, *bytes};
  }
  // Far back, after many calls of tools, it is bisected. What is rewritten begins at one message;
  // before that there is a border after every message, or after every question.
  Border last;
  size_t below = 0;
  while (below + 1 < above) {
    const size_t middle = below + (above - below) / 2;
    std::optional<size_t> bytes;
    size_t count = middle;
    for (; !bytes.has_value() && count > below && middle - count < 2; --count) {
      bytes = border_after(count);
    }
    if (bytes.has_value()) {
      last = {count + 1, *bytes};
      below = middle;
    } else {
      above = middle;
    }
  }
  return last;
}

}  // namespace

// A conversation that is about to be rendered.
struct ChatTemplate::Rendering {
  const ChatTemplate& chat_template;
  Dict variables;
  std::vector<Value> messages;
  std::time_t now = std::time(nullptr);  // The same for every rendering that is compared.

  // Of the first `count` messages.
  absl::StatusOr<jinja::Text> Render(size_t count, bool add_generation_prompt) const {
    Dict all = variables;
    all.Set("messages", Value(List({messages.begin(), messages.begin() + count})));
    all.Set("add_generation_prompt", Value(add_generation_prompt));
    absl::StatusOr<jinja::Text> text = chat_template.template_.Render(all, now);
    if (!text.ok()) {
      return absl::Status(text.status().code(),
                          Concat({"chat template: ", std::string(text.status().message())}));
    }
    return text;
  }

  // The length of the rendering of a conversation that ends after `count` messages, where `whole`
  // starts with it.
  std::optional<size_t> BorderAfter(size_t count, std::string_view whole) const {
    if (count == 0) return 0;
    const absl::StatusOr<jinja::Text> ended = Render(count, /*add_generation_prompt=*/false);
    if (!ended.ok()) return std::nullopt;  // No conversation for this template.
    std::string_view text = ended->bytes();
    if (chat_template.expects_.closed_by_eos) text.remove_suffix(chat_template.EosLength(text));
    if (!whole.starts_with(text)) return std::nullopt;
    return text.size();
  }
};

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
  ChatTemplate chat_template(*std::move(parsed), std::move(variables));
  chat_template.TryOut();
  return chat_template;
}

size_t ChatTemplate::EosLength(std::string_view text) const {
  const Value* eos = special_tokens_.Find("eos_token");
  return eos != nullptr && text.ends_with(eos->text()->bytes()) ? eos->text()->size() : 0;
}

void ChatTemplate::TryOut() {
  const auto renders = [this](const ChatMessage& answer) {
    const absl::StatusOr<Rendering> rendering =
        Prepare({.messages = {{.role = "user", .content = "question"}, answer}});
    return rendering.ok() && rendering->Render(2, /*add_generation_prompt=*/false).ok();
  };
  // The first that the template takes: tool calls beside no content, or beside an empty one.
  ChatMessage calls = {.role = "assistant", .tool_calls = {{"callcall1", "f", "{\"a\": 1}"}}};
  const auto find = [&] {
    for (const bool as_written : {false, true}) {
      for (const bool null_content : {false, true}) {
        expects_ = {.arguments_as_written = as_written, .null_content = null_content};
        if (renders(calls)) return true;
      }
    }
    expects_ = {};
    return false;
  };
  if (!find()) {
    calls.content = "";
    find();
  }
  // One that asks whether arguments are a string gets them as they were written, so that what a
  // model wrote renders byte for byte.
  if (template_.TestsAttribute("arguments", "string")) expects_.arguments_as_written = true;

  constexpr std::string_view kAnswer = "answer";
  const absl::StatusOr<Rendering> answered =
      Prepare({.messages = {{.role = "user", .content = "question"},
                            {.role = "assistant", .content = std::string(kAnswer)}}});
  if (!answered.ok()) return;
  const absl::StatusOr<jinja::Text> ended = answered->Render(2, /*add_generation_prompt=*/false);
  if (!ended.ok()) return;  // A template for other conversations than this.
  std::string_view text = ended->bytes();
  const absl::StatusOr<jinja::Text> goes_on = answered->Render(2, /*add_generation_prompt=*/true);
  if (const size_t eos = EosLength(text); goes_on.ok() && eos > 0) {
    expects_.closed_by_eos = !goes_on->bytes().starts_with(text) &&
                             goes_on->bytes().starts_with(text.substr(0, text.size() - eos));
    if (expects_.closed_by_eos) text.remove_suffix(eos);
  }
  const size_t answer = text.rfind(kAnswer);
  if (answer != std::string_view::npos) closing_.assign(text.substr(answer + kAnswer.size()));
}

absl::StatusOr<Value> ChatTemplate::MessageValue(const ChatMessage& message,
                                                 std::string_view field) const {
  Dict value;
  value.Set("role", FromCaller(message.role));
  if (message.content.has_value()) {
    value.Set("content", FromCaller(*message.content));
  } else if (expects_.null_content && !message.tool_calls.empty()) {
    value.Set("content", Value(Value::None()));
  }
  if (message.reasoning_content.has_value()) {
    value.Set("reasoning_content", FromCaller(*message.reasoning_content));
  }
  std::vector<Value> calls;
  for (const ToolCall& call : message.tool_calls) {
    const std::string call_field = Indexed(Concat({field, ".tool_calls"}), calls.size());
    KVASIR_JINJA_ASSIGN_OR_RETURN(Value arguments,
                                  JsonObject(Concat({call_field, ".arguments"}), call.arguments));
    Dict function;
    function.Set("name", FromCaller(call.name));
    function.Set("arguments",
                 expects_.arguments_as_written ? FromCaller(call.arguments) : std::move(arguments));
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

absl::StatusOr<ChatTemplate::Rendering> ChatTemplate::Prepare(
    const Conversation& conversation) const {
  Rendering rendering = {*this, special_tokens_};
  for (const ChatMessage& message : conversation.messages) {
    const std::string field = Indexed("messages", rendering.messages.size());
    KVASIR_JINJA_ASSIGN_OR_RETURN(Value value, MessageValue(message, field));
    rendering.messages.push_back(std::move(value));
  }
  Dict& variables = rendering.variables;
  std::vector<Value> tools;
  for (const std::string& tool : conversation.tools) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(Value value, JsonObject(Indexed("tools", tools.size()), tool));
    tools.push_back(std::move(value));
  }
  variables.Set("tools", tools.empty() ? Value(Value::None()) : Value(List(std::move(tools))));
  variables.Set("documents", Value(Value::None()));
  if (conversation.template_arguments.empty()) return rendering;
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value arguments,
                                JsonObject("template_arguments", conversation.template_arguments));
  for (const Dict::Entry& entry : arguments.dict()->entries()) {
    const std::string& name = entry.key->bytes();
    if (name == "messages" || name == "tools" || name == "add_generation_prompt") {
      return jinja::Invalid({"template_arguments: '", name, "' is a field of its own"});
    }
    variables.Set(entry.key, entry.value);
  }
  return rendering;
}

absl::StatusOr<RenderedChat> ChatTemplate::Render(const Conversation& conversation) const {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Rendering rendering, Prepare(conversation));
  KVASIR_JINJA_ASSIGN_OR_RETURN(
      const jinja::Text text,
      rendering.Render(conversation.messages.size(), conversation.add_generation_prompt));
  return ToRenderedChat(text);
}

absl::StatusOr<RenderedRest> ChatTemplate::RenderFrom(const Conversation& conversation,
                                                      size_t from_message) const {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Rendering rendering, Prepare(conversation));
  KVASIR_JINJA_ASSIGN_OR_RETURN(
      const jinja::Text whole,
      rendering.Render(conversation.messages.size(), conversation.add_generation_prompt));
  const Border border = LastBorder(
      from_message, [&](size_t count) { return rendering.BorderAfter(count, whole.bytes()); });
  return RenderedRest{border.messages, ToRenderedChat(whole.Slice(border.bytes, whole.size()))};
}

}  // namespace kvasir
