#include "tests/tokenizer/chat_families.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "tests/tokenizer/small_tokenizer.h"

namespace kvasir {
namespace {

constexpr char kBos[] = "<|bos|>", kEos[] = "<|eos|>";

// ChatML with a system message of its own where there is none, as SmolLM2's template has it.
constexpr char kDefaultSystem[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe of help.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

std::set<std::string> ControlTokensOf(const std::string& source) {
  static const auto& pattern = *new std::regex(
      "</?[|a-z][^<>\\s'\"{}()]{0,40}>|<\xEF\xBD\x9C[^<>\\s'\"{}]{1,60}>|\\[/?[A-Z_]+\\]");
  std::set<std::string> tokens = {kBos, kEos};
  for (std::sregex_iterator match(source.begin(), source.end(), pattern), end; match != end;
       ++match) {
    tokens.insert(match->str());
  }
  return tokens;
}

ChatFamily MakeFamily(const std::string& name, const std::string& source) {
  ChatFamily family;
  family.name = name;
  const std::set<std::string> tokens = ControlTokensOf(source);
  family.control_tokens.assign(tokens.begin(), tokens.end());
  std::string added;
  uint32_t id = kSmallEnd;
  for (const std::string& token : tokens) {
    added += (added.empty() ? "[" : ",") + AddedTokenJson(id++, token, {"special"});
  }
  rapidjson::Document config(rapidjson::kObjectType);
  for (const auto& [field, text] : std::initializer_list<std::pair<const char*, std::string>>{
           {"chat_template", source}, {"bos_token", kBos}, {"eos_token", kEos}}) {
    config.AddMember(rapidjson::StringRef(field),
                     rapidjson::Value(text.c_str(), config.GetAllocator()), config.GetAllocator());
  }
  family.tokenizer = SmallTokenizer({{"/added_tokens", added + "]"}}, ToText(config));
  absl::StatusOr<ChatTemplate> parsed =
      ChatTemplate::Parse(source, {{"bos_token", kBos}, {"eos_token", kEos}});
  EXPECT_TRUE(parsed.ok()) << name << ": " << parsed.status();
  family.chat_template = std::make_unique<ChatTemplate>(*std::move(parsed));
  return family;
}

}  // namespace

const std::vector<ChatFamily>& ChatFamilies() {
  static const auto& families = *[] {
    auto* result = new std::vector<ChatFamily>();
    for (const auto& entry : std::filesystem::directory_iterator(
             std::filesystem::path(KVASIR_TESTDATA_DIR) / "chat_templates")) {
      if (entry.path().extension() != ".jinja") continue;
      std::ifstream file(entry.path(), std::ios::binary);
      result->push_back(MakeFamily(entry.path().stem().string(),
                                   std::string(std::istreambuf_iterator<char>(file), {})));
    }
    result->push_back(MakeFamily("smollm2_manner", kDefaultSystem));
    std::sort(result->begin(), result->end(),
              [](const ChatFamily& a, const ChatFamily& b) { return a.name < b.name; });
    EXPECT_GE(result->size(), 25u);
    return result;
  }();
  return families;
}

const ChatFamily& FamilyNamed(const std::string& name) {
  for (const ChatFamily& family : ChatFamilies()) {
    if (family.name == name) return family;
  }
  ADD_FAILURE() << name;
  return ChatFamilies().front();
}

std::string ConversationSource::Text() {
  static constexpr const char* kWords[] = {"yes", "no",   "Paris",  "北京", "naïve", "{{ x }}",
                                           "0.5", "it's", "\"q\"",  "a\nb", "<b>",   "x = {1: 2}",
                                           "😀",   "|",    "back\\", "and",  "the",   "weather"};
  std::string text;
  for (int i = Below(6); i >= 0; --i) {
    if (!text.empty()) text += Below(4) == 0 ? "\n" : " ";
    text += kWords[Below(std::size(kWords))];
  }
  return text;
}

std::string ConversationSource::Answer(const ChatFamily& family) {
  const auto knows = [&](const char* token) {
    return std::count(family.control_tokens.begin(), family.control_tokens.end(), token) > 0;
  };
  if (!knows("</think>") || Below(3) == 0) return Text();
  const Conversation opening = {.messages = {{.role = "user", .content = "?"}}};
  const absl::StatusOr<RenderedChat> invitation = family.chat_template->Render(opening);
  const bool opened = invitation.ok() && invitation->text.ends_with("<think>\n");
  return (opened ? "" : "<think>\n") + Text() + "\n</think>\n\n" + Text();
}

Conversation ConversationSource::Next(const ChatFamily& family) {
  Conversation conversation;
  if (Below(3) == 0) conversation.messages.push_back({.role = "system", .content = Text()});
  if (Below(4) == 0) {
    conversation.tools = {
        R"({"type": "function", "function": {"name": "f", "description": ")" +
        std::string(Below(2) == 0 ? "d" : "é") +
        R"(", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}})"};
  }
  for (int turn = Below(4); turn >= 0; --turn) {
    conversation.messages.push_back({.role = "user", .content = Text()});
    for (int calls = conversation.tools.empty() ? 0 : Below(4); calls > 0; --calls) {
      ChatMessage message = {.role = "assistant",
                             .content = Below(2) == 0 ? "" : Answer(family),
                             .tool_calls = {{"callcall1", "f", R"({"a": "b"})"}}};
      if (Below(3) == 0) message.reasoning_content = Text();
      conversation.messages.push_back(std::move(message));
      conversation.messages.push_back(
          {.role = "tool", .content = Text(), .name = "f", .tool_call_id = "callcall1"});
    }
    if (turn > 0 || Below(2) == 0) {
      conversation.messages.push_back({.role = "assistant", .content = Answer(family)});
    }
  }
  conversation.add_generation_prompt = Below(4) != 0;
  return conversation;
}

}  // namespace kvasir
