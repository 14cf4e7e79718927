// The client's conversation under the real chat templates of many models: what the session holds is
// what the template says.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "services/chat_renderer.h"
#include "services/cli/conversation.h"
#include "services/grpc_status.h"
#include "tests/tokenizer/chat_families.h"

namespace kvasir::cli {
namespace {

using TokenIds = Conversation::TokenIds;

// A chat whose tokenizer service and model live in this process.
class Chat {
 public:
  Chat(const ChatFamily& family, uint32_t seed)
      : family_(family),
        source_(seed),
        system_(source_.Below(3) == 0 ? source_.Text() : ""),
        conversation_({[this](const auto& request, auto& response) {
                         return ToGrpcStatus(renderer_.Render(request, response));
                       },
                       [this](const v1::DecodeRequest& request, std::string& text) {
                         text = *family_.tokenizer->Decode(
                             {request.ids().data(), static_cast<size_t>(request.ids_size())},
                             request.skip_special_tokens());
                         return grpc::Status::OK;
                       }},
                      system_) {}

  // Takes a turn. False where the template refuses the conversation.
  bool Take() {
    const std::string question = source_.Text();
    Conversation::Turn turn;
    const grpc::Status status = conversation_.NextTurn(question, turn);
    const std::optional<std::string> rendered = Rendered(question);
    EXPECT_EQ(status.ok(), rendered.has_value()) << status.error_message();
    if (!status.ok()) return false;
    Keep(turn.keep);
    session_.insert(session_.end(), turn.ids.begin(), turn.ids.end());
    EXPECT_EQ(Text(session_), *rendered);
    EXPECT_FALSE(turn.ids.empty());
    const TokenIds answer = Answer();
    conversation_.AddTurn(turn, answer);
    session_.insert(session_.end(), answer.begin(), answer.end());
    ExpectInStep();
    return true;
  }

  // As a user does who thinks again.
  void GoBack() {
    const size_t first = conversation_.system().empty() ? 0 : 1;
    const size_t questions = (conversation_.messages().size() - first) / 2;
    const size_t index =
        first + 2 * static_cast<size_t>(source_.Below(static_cast<int>(questions)));
    Keep(conversation_.ForgetFrom(index));
    ExpectInStep();
  }

  int turns_that_cut() const { return turns_that_cut_; }

 private:
  void Keep(uint64_t length) {
    ASSERT_LE(length, session_.size());
    if (length < session_.size()) ++turns_that_cut_;
    session_.resize(length);
    conversation_.CutTo(length);
  }

  void ExpectInStep() {
    EXPECT_EQ(conversation_.ids(), session_);
    EXPECT_EQ(conversation_.length(), session_.size());
  }

  std::string Text(const TokenIds& ids) const {
    return *family_.tokenizer->Decode(ids, /*skip_special=*/false);
  }

  // What the template makes of all that was said.
  std::optional<std::string> Rendered(const std::string& question) {
    EXPECT_TRUE(conversation_.Complete().ok());
    kvasir::Conversation whole;
    for (const Conversation::Message& message : conversation_.messages()) {
      whole.messages.push_back({.role = message.said.role(), .content = message.said.content()});
    }
    whole.messages.push_back({.role = "user", .content = question});
    const absl::StatusOr<RenderedChat> chat = family_.chat_template->Render(whole);
    if (!chat.ok()) return std::nullopt;
    return chat->text;
  }

  // Of a model: not always in the tokens that its text would be encoded to, cut short at times,
  // with more or less of what closes it, with a space where the template would have none.
  TokenIds Answer() {
    std::string text = source_.Answer(family_);
    if (source_.Below(8) == 0) text = " " + text + "\n";
    if (source_.Below(5) == 0) text.resize(static_cast<size_t>(source_.Below(8)) % text.size());
    TokenIds ids;
    if (source_.Below(2) == 0) {
      ids = family_.tokenizer->Encode(text);
    } else {
      for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
    }
    const TokenIds closing = family_.tokenizer->Encode(family_.chat_template->closing());
    const int held = source_.Below(static_cast<int>(closing.size()) + 1);
    ids.insert(ids.end(), closing.begin(), closing.begin() + held);
    return ids;
  }

  const ChatFamily& family_;
  ChatRenderer renderer_{*family_.tokenizer};
  ConversationSource source_;
  std::string system_;
  TokenIds session_;
  Conversation conversation_;
  int turns_that_cut_ = 0;
};

TEST(ConversationFamilies, TheSessionIsTheTemplatesRendering) {
  for (const ChatFamily& family : ChatFamilies()) {
    int turns = 0;
    for (uint32_t seed = 0; seed < 40; ++seed) {
      SCOPED_TRACE(family.name + ", seed " + std::to_string(seed));
      Chat chat(family, seed);
      for (int i = 0; i < 5 && chat.Take(); ++i) {
        ++turns;
        if (i == 2) chat.GoBack();
        if (testing::Test::HasFailure()) return;
      }
    }
    EXPECT_GT(turns, 50) << family.name;
  }
}

// What a model that behaves generates is left alone by a template that does not rewrite.
TEST(ConversationFamilies, WhatWasGeneratedStays) {
  for (const char* name : {"qwen2_5", "qwen3_instruct_2507", "llama3_1", "llama3_3", "mistral_nemo",
                           "gemma3", "phi4", "smollm2_manner"}) {
    const ChatFamily& family = FamilyNamed(name);
    const ChatRenderer renderer(*family.tokenizer);
    Conversation conversation(
        {[&](const auto& request, auto& response) {
           return ToGrpcStatus(renderer.Render(request, response));
         },
         [&](const v1::DecodeRequest& request, std::string& text) {
           text = *family.tokenizer->Decode(
               {request.ids().data(), static_cast<size_t>(request.ids_size())},
               request.skip_special_tokens());
           return grpc::Status::OK;
         }},
        "");
    const uint32_t stop = family.tokenizer->Encode(family.chat_template->closing())[0];
    for (int i = 0; i < 4; ++i) {
      Conversation::Turn turn;
      ASSERT_TRUE(conversation.NextTurn("hello", turn).ok()) << name;
      EXPECT_EQ(turn.keep, conversation.length()) << name;
      conversation.AddTurn(turn,
                           {'h', 'e', 'l', 'l', 'o', stop});  // "hello" has a token of its own
    }
  }
}

}  // namespace
}  // namespace kvasir::cli
