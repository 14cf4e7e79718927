#ifndef KVASIR_TESTS_TOKENIZER_CHAT_FAMILIES_H_
#define KVASIR_TESTS_TOKENIZER_CHAT_FAMILIES_H_

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace kvasir {

// A model family's way to chat: the real template (but for one that no package ships, and which is
// written in its manner), and a small tokenizer whose added tokens are all the control tokens that
// stand in it.
struct ChatFamily {
  std::string name;  // "qwen3"
  std::vector<std::string> control_tokens;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;
};

// All of build/testdata/chat_templates, by name.
const std::vector<ChatFamily>& ChatFamilies();
// REQUIRES: there is one of this name.
const ChatFamily& FamilyNamed(const std::string& name);

// Random parts of conversations.
class ConversationSource {
 public:
  explicit ConversationSource(uint32_t seed) : random_(seed) {}

  // From 0 to `below` - 1.
  int Below(int below) { return std::uniform_int_distribution<>(0, below - 1)(random_); }
  // Some words, none of them a control token; no space at either end.
  std::string Text();
  // An answer as such a model generates it: with thinking before it, perhaps.
  std::string Answer(const ChatFamily& family);
  // Questions and answers, tools called now and then.
  Conversation Next(const ChatFamily& family);

 private:
  std::minstd_rand random_;
};

}  // namespace kvasir

#endif  // KVASIR_TESTS_TOKENIZER_CHAT_FAMILIES_H_
