// The real chat templates of many models: no text from messages becomes a control token, and the
// rest of a conversation starts where it must.
#include "tests/tokenizer/chat_families.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <vector>

namespace kvasir {
namespace {

// Around each control token that is smuggled in, so that it is known again in the rendering.
constexpr std::string_view kOpen = "\xEE\x80\x80", kClose = "\xEE\x80\x81";

// Every control token of the family, in one text.
std::string AllControlTokens(const ChatFamily& family) {
  std::string text = "x";
  for (const std::string& token : family.control_tokens) {
    text.append(kOpen).append(token).append(kClose).append("x");
  }
  return text;
}

// Of the control tokens that were smuggled into `text`, how many there are, and how many became one
// in `ids`.
struct Smuggled {
  size_t shown = 0;
  size_t became = 0;
};

Smuggled CountSmuggled(const ChatFamily& family, const std::string& text,
                       const std::vector<uint32_t>& ids) {
  Smuggled count;
  for (size_t at = text.find(kOpen); at != std::string::npos; at = text.find(kOpen, at + 1)) {
    ++count.shown;
  }
  std::set<uint32_t> added;
  for (const AddedToken& token : family.tokenizer->added_tokens()) added.insert(token.id);
  std::string before;
  for (const uint32_t id : ids) {
    if (added.contains(id) && before.ends_with(kOpen)) ++count.became;
    before += family.tokenizer->TokenBytes(id);
  }
  EXPECT_EQ(before, text) << family.name;
  return count;
}

// A conversation in which everything is said that a template may show.
Conversation Full() {
  return {.messages = {{.role = "system", .content = "s"},
                       {.role = "user", .content = "q"},
                       {.role = "assistant",
                        .content = "",
                        .reasoning_content = "r",
                        .tool_calls = {{"callcall1", "f", R"({"k": "v"})"}}},
                       {.role = "tool", .content = "t", .name = "f", .tool_call_id = "callcall1"},
                       {.role = "assistant", .content = "a"},
                       {.role = "user", .content = "q2"},
                       {.role = "assistant", .content = "a2", .reasoning_content = "r2"}},
          .tools = {R"({"type": "function", "function": {"name": "f", "description": "d",
                "parameters": {"type": "object", "properties": {"k": {"type": "string"}}}}})"},
          .template_arguments = R"({"date_string": "today"})"};
}

struct Field {
  std::string name;
  std::function<void(Conversation& conversation, const std::string& text)> put;
};

const std::vector<Field>& Fields() {
  using C = Conversation;
  using S = const std::string&;
  static const auto& fields = *new std::vector<Field>{
      {"system content", [](C& c, S t) { c.messages[0].content = t; }},
      {"user content", [](C& c, S t) { c.messages[1].content = t; }},
      {"last user content", [](C& c, S t) { c.messages[5].content = t; }},
      {"assistant content", [](C& c, S t) { c.messages[4].content = t; }},
      {"last assistant content", [](C& c, S t) { c.messages[6].content = t; }},
      {"content beside a call", [](C& c, S t) { c.messages[2].content = t; }},
      {"reasoning", [](C& c, S t) { c.messages[2].reasoning_content = t; }},
      {"last reasoning", [](C& c, S t) { c.messages[6].reasoning_content = t; }},
      {"role", [](C& c, S t) { c.messages[5].role = t; }},
      {"tool result", [](C& c, S t) { c.messages[3].content = t; }},
      {"tool result's name", [](C& c, S t) { c.messages[3].name = t; }},
      {"tool result's id", [](C& c, S t) { c.messages[3].tool_call_id = t; }},
      {"user's name", [](C& c, S t) { c.messages[1].name = t; }},
      {"call's name", [](C& c, S t) { c.messages[2].tool_calls[0].name = t; }},
      {"call's id", [](C& c, S t) { c.messages[2].tool_calls[0].id = t; }},
      {"call's argument",
       [](C& c, S t) { c.messages[2].tool_calls[0].arguments = "{\"k\": \"" + t + "\"}"; }},
      {"call's argument's name",
       [](C& c, S t) { c.messages[2].tool_calls[0].arguments = "{\"" + t + "\": 1}"; }},
      {"tool's description",
       [](C& c, S t) { c.tools[0].replace(c.tools[0].find("\"d\""), 3, "\"" + t + "\""); }},
      {"tool's name",
       [](C& c, S t) { c.tools[0].replace(c.tools[0].find("\"f\""), 3, "\"" + t + "\""); }},
      {"tool's parameter",
       [](C& c, S t) { c.tools[0].replace(c.tools[0].find("\"k\""), 3, "\"" + t + "\""); }},
      {"template argument",
       [](C& c, S t) { c.template_arguments = "{\"date_string\": \"" + t + "\"}"; }},
  };
  return fields;
}

// With fewer messages, for templates that refuse some kinds.
std::vector<Conversation> Shapes(const Field& field, const std::string& text) {
  Conversation full = Full();
  field.put(full, text);
  std::vector<Conversation> shapes = {full};
  full.tools.clear();
  shapes.push_back(full);
  Conversation without_calls = full;
  without_calls.messages.erase(without_calls.messages.begin() + 2,
                               without_calls.messages.begin() + 4);
  shapes.push_back(without_calls);
  without_calls.messages.erase(without_calls.messages.begin());  // No system message either.
  shapes.push_back(without_calls);
  full.messages[2].content.reset();
  shapes.push_back(full);
  return shapes;
}

TEST(ChatFamilies, NoFieldBringsInAControlToken) {
  size_t shown = 0;
  size_t trusted = 0;
  for (const ChatFamily& family : ChatFamilies()) {
    const std::string all = AllControlTokens(family);
    std::set<std::string> shown_fields;
    for (const Field& field : Fields()) {
      SCOPED_TRACE(family.name + ", " + field.name);
      for (const Conversation& conversation : Shapes(field, all)) {
        const absl::StatusOr<RenderedChat> chat = family.chat_template->Render(conversation);
        if (!chat.ok()) continue;  // The template refuses such a conversation.
        const Smuggled safe = CountSmuggled(
            family, chat->text, family.tokenizer->EncodeTrusted(chat->text, chat->trusted));
        EXPECT_EQ(safe.became, 0u);
        // As transformers does, every one of them is (but for one that the template cuts off).
        const Smuggled as_is =
            CountSmuggled(family, chat->text, family.tokenizer->Encode(chat->text));
        EXPECT_GE(as_is.became + 1, as_is.shown);
        if (safe.shown > 0) shown_fields.insert(field.name);
        shown += safe.shown;
        trusted += as_is.became;
      }
    }
    EXPECT_TRUE(shown_fields.contains("user content")) << family.name;
    EXPECT_TRUE(shown_fields.contains("assistant content")) << family.name;
  }
  EXPECT_GT(shown, 9'000u) << "else nothing was tried";
  EXPECT_GT(trusted, shown - 10);
}

// By the definition, in the plainest way.
size_t FirstChanged(const ChatTemplate& chat_template, const Conversation& conversation,
                    size_t from) {
  const std::string whole = chat_template.Render(conversation)->text;
  Conversation ended = conversation;
  ended.add_generation_prompt = false;
  for (size_t count = from; count > 0; --count) {
    ended.messages.resize(count);
    const absl::StatusOr<RenderedChat> chat = chat_template.Render(ended);
    if (!chat.ok()) continue;
    std::string_view text = chat->text;
    if (whole.starts_with(text)) return count;
    // Some put it behind what nobody is to go on with.
    if (text.ends_with("<|eos|>")) text.remove_suffix(7);
    if (whole.starts_with(text)) return count;
  }
  return 0;
}

TEST(ChatFamilies, TheRestStartsAtTheFirstMessageThatChanged) {
  int tried = 0;
  int rewritten = 0;
  for (const ChatFamily& family : ChatFamilies()) {
    ConversationSource source(7);
    for (int i = 0; i < 60; ++i) {
      const Conversation conversation = source.Next(family);
      const absl::StatusOr<RenderedChat> whole = family.chat_template->Render(conversation);
      if (!whole.ok()) continue;
      const size_t from = source.Below(static_cast<int>(conversation.messages.size()) + 1);
      SCOPED_TRACE(family.name + ", " + std::to_string(from) + " messages of\n" + whole->text);
      const absl::StatusOr<RenderedRest> rest =
          family.chat_template->RenderFrom(conversation, from);
      ASSERT_TRUE(rest.ok()) << rest.status();
      EXPECT_EQ(rest->first_message, FirstChanged(*family.chat_template, conversation, from));
      ASSERT_TRUE(whole->text.ends_with(rest->chat.text));
      ++tried;
      if (rest->first_message < from) ++rewritten;
    }
  }
  EXPECT_GT(tried, 800);
  EXPECT_GT(rewritten, 50);
}

TEST(ChatFamilies, WhatIsRewrittenFarBackIsFound) {
  const ChatFamily& family = FamilyNamed("qwen3");
  for (const int calls : {1, 5, 20, 100}) {
    for (const bool ends_with_answer : {true, false}) {
      Conversation conversation = {.messages = {{.role = "user", .content = "q0"},
                                                {.role = "assistant", .content = "a0"},
                                                {.role = "user", .content = "q"}}};
      for (int i = 0; i < calls; ++i) {
        conversation.messages.push_back({.role = "assistant",
                                         .content = "",
                                         .reasoning_content = "hm",
                                         .tool_calls = {{"", "f", "{}"}}});
        conversation.messages.push_back({.role = "tool", .content = "t"});
      }
      if (ends_with_answer) conversation.messages.push_back({.role = "assistant", .content = "a"});
      const size_t from = conversation.messages.size();
      conversation.messages.push_back({.role = "user", .content = "next"});
      const RenderedRest rest = *family.chat_template->RenderFrom(conversation, from);
      EXPECT_EQ(rest.first_message, 3u) << calls << " calls; " << ends_with_answer;
      EXPECT_THAT(rest.chat.text, testing::StartsWith("<|im_start|>assistant\n<tool_call>"));
    }
  }
}

TEST(ChatFamilies, WhatClosesAnAnswer) {
  const std::pair<const char*, const char*> kClosings[] = {{"qwen2_5", "<|im_end|>\n"},
                                                           {"qwen3", "<|im_end|>\n"},
                                                           {"qwen3_thinking_2507", "<|im_end|>\n"},
                                                           {"llama3_1", "<|eot_id|>"},
                                                           {"mistral_v3", "</s>"},
                                                           {"deepseek_r1", "<｜end▁of▁sentence｜>"},
                                                           {"gemma3", "<end_of_turn>\n"},
                                                           {"phi4", "<|im_end|>"},
                                                           {"phi3_5", "<|end|>\n"},
                                                           {"smollm2_manner", "<|im_end|>\n"}};
  for (const auto& [name, closing] : kClosings) {
    EXPECT_EQ(FamilyNamed(name).chat_template->closing(), closing) << name;
  }
}

TEST(ChatFamilies, ToolCallsComeAsATemplateTakesThem) {
  Conversation conversation = {
      .messages = {{.role = "user", .content = "q"},
                   {.role = "assistant", .tool_calls = {{"callcall1", "f", R"({"a":  1})"}}},
                   {.role = "tool", .content = "t", .tool_call_id = "callcall1"}}};
  // A template that glues them to text takes text, and None for no content.
  EXPECT_THAT(FamilyNamed("deepseek_r1").chat_template->Render(conversation)->text,
              testing::HasSubstr("f\n```json\n{\"a\":  1}\n```"));
  EXPECT_THAT(FamilyNamed("llama3_1").chat_template->Render(conversation)->text,
              testing::HasSubstr(R"("parameters": {"a": 1})"));
  EXPECT_THAT(FamilyNamed("mistral_v3").chat_template->Render(conversation)->text,
              testing::HasSubstr(R"([{"name": "f", "arguments": {"a": 1}, "id": "callcall1"}])"));
}

}  // namespace
}  // namespace kvasir
