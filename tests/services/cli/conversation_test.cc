#include "services/cli/conversation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace kvasir::cli {
namespace {

using ::testing::ElementsAre;
using TokenIds = Conversation::TokenIds;

const std::map<uint32_t, std::string>& Marks() {
  static const auto& marks =
      *new std::map<uint32_t, std::string>{{1000, "<|im_start|>"}, {1001, "<|im_end|>"}};
  return marks;
}

// A token a byte, and one for each of ChatML's marks.
TokenIds Encode(std::string_view text) {
  TokenIds ids;
  while (!text.empty()) {
    const auto mark = std::find_if(Marks().begin(), Marks().end(), [&](const auto& known) {
      return text.starts_with(known.second);
    });
    ids.push_back(mark != Marks().end() ? mark->first : static_cast<uint8_t>(text[0]));
    text.remove_prefix(mark != Marks().end() ? mark->second.size() : 1);
  }
  return ids;
}

grpc::Status Decode(const v1::DecodeRequest& request, std::string& text) {
  text.clear();
  for (const uint32_t id : request.ids()) {
    if (id < 256) {
      text += static_cast<char>(id);
    } else if (!request.skip_special_tokens()) {
      text += Marks().at(id);
    }
  }
  return grpc::Status::OK;
}

// ChatML, by a service that knows how to answer with the rest. `forgets`: as Qwen3's template does,
// it shows the thinking of an answer only where nothing follows.
class ChatMl {
 public:
  explicit ChatMl(bool forgets = false) : forgets_(forgets) {}

  Conversation::Tokenizer Tokenizer() {
    return {[this](const auto& request, auto& response) { return Apply(request, response); },
            Decode};
  }
  int calls = 0;
  grpc::Status failure;

 private:
  std::string Render(const v1::ApplyChatTemplateRequest& request, int count, bool invite) const {
    std::string text;
    for (int i = 0; i < count; ++i) {
      std::string content = request.messages(i).content();
      if (forgets_ && i + 1 < count) content.erase(0, content.rfind('>') + 1);
      text += "<|im_start|>" + request.messages(i).role() + "\n" + content + "<|im_end|>\n";
    }
    return invite ? text + "<|im_start|>assistant\n" : text;
  }

  grpc::Status Apply(const v1::ApplyChatTemplateRequest& request,
                     v1::ApplyChatTemplateResponse& response) {
    ++calls;
    if (!failure.ok()) return failure;
    const std::string whole = Render(request, request.messages_size(), true);
    int from = static_cast<int>(request.from_message());
    while (!whole.starts_with(Render(request, from, false))) --from;
    response.set_first_changed_message(from);
    response.set_text(whole.substr(Render(request, from, false).size()));
    for (const uint32_t id : Encode(response.text())) response.add_ids(id);
    for (const uint32_t id : Encode("<|im_end|>\n")) response.add_closing_ids(id);
    return grpc::Status::OK;
  }

  const bool forgets_;
};

class ConversationTest : public ::testing::Test {
 protected:
  Conversation::Turn Next(std::string_view text) {
    Conversation::Turn turn;
    const grpc::Status status = conversation_.NextTurn(text, turn);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return turn;
  }

  // What is sent for `text`, all that the session holds kept.
  TokenIds Sent(std::string_view text) {
    const Conversation::Turn turn = Next(text);
    EXPECT_EQ(turn.keep, conversation_.length());
    return turn.ids;
  }

  // Asks, and gets this for an answer. Returns the turn.
  Conversation::Turn Take(std::string_view text, std::string_view answer) {
    const Conversation::Turn turn = Next(text);
    conversation_.CutTo(turn.keep);
    conversation_.AddTurn(turn, Encode(answer));
    return turn;
  }

  ChatMl service_;
  Conversation conversation_{service_.Tokenizer(), "Be brief."};
};

TEST_F(ConversationTest, TheFirstTurnIsTheWholeRendering) {
  EXPECT_EQ(Sent("hi"), Encode("<|im_start|>system\nBe brief.<|im_end|>\n"
                               "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"));
  conversation_ = Conversation(service_.Tokenizer(), "");
  EXPECT_EQ(Sent("hi"), Encode("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"));
}

TEST_F(ConversationTest, ALaterTurnIsWhatTheSessionLacks) {
  Take("hi", "hello<|im_end|>");
  // The stop token is the session's already, the newline after it is not.
  EXPECT_EQ(Sent("bye"), Encode("\n<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n"));
}

TEST_F(ConversationTest, AnAnswerThatWasCutShortIsClosed) {
  Take("hi", "hel");
  EXPECT_EQ(Sent("bye"),
            Encode("<|im_end|>\n<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n"));
  Take("bye", "clo<|im_end|>\n");
  EXPECT_EQ(Sent("x"), Encode("<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"));
}

TEST_F(ConversationTest, WhatASpecialTokenStandsInIsLeftAsItIs) {
  Take("hi", "a<|im_end|>\n<|im_start|>user\nb<|im_end|>");
  EXPECT_EQ(Sent("bye"), Encode("\n<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n"));
}

TEST_F(ConversationTest, WhatFollowsTheEndOfAnAnswerIsCutOff) {
  Take("hi", "a<|im_end|><|im_end|>");
  const Conversation::Turn turn = Next("bye");
  EXPECT_EQ(turn.keep, conversation_.length() - 1);
  EXPECT_EQ(turn.ids.front(), static_cast<uint32_t>('\n'));
}

TEST_F(ConversationTest, WhatTheTemplateRewritesIsCutOff) {
  ChatMl forgets(/*forgets=*/true);
  conversation_ = Conversation(forgets.Tokenizer(), "");
  const size_t asked = Take("hi", "<think>hm</think>hello<|im_end|>").ids.size();
  const Conversation::Turn turn = Next("bye");
  // The invitation is the same still.
  EXPECT_EQ(turn.keep, asked);
  EXPECT_EQ(turn.ids, Encode("hello<|im_end|>\n<|im_start|>user\nbye<|im_end|>\n"
                             "<|im_start|>assistant\n"));
  // What begins alike is kept, and an answer without thinking altogether.
  conversation_.CutTo(turn.keep);
  conversation_.AddTurn(turn, Encode("good bye<|im_end|>"));
  EXPECT_EQ(Sent("x"), Encode("\n<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"));
}

TEST_F(ConversationTest, GoesOnInASessionWhoseBeginningIsUnknown) {
  conversation_.Resume(500, Encode("o<|im_end|>"));
  EXPECT_EQ(conversation_.length(), 500u);
  EXPECT_EQ(Sent("bye"), Encode("\n<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n"));
  Take("bye", "ciao<|im_end|>");
  const uint64_t length = conversation_.length();
  EXPECT_EQ(Sent("x"), Encode("\n<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"));
  EXPECT_EQ(conversation_.SetSystem("x").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  Take("x", "<|im_start|>");
  EXPECT_EQ(conversation_.ForgetFrom(conversation_.first_known() + 2), length);
  conversation_.CutTo(length);
  EXPECT_EQ(conversation_.ForgetFrom(conversation_.first_known()), 500u);
}

TEST_F(ConversationTest, WhatIsForgottenWasNeverSaid) {
  Take("hi", "hello<|im_end|>");
  const uint64_t before = conversation_.length();
  Take("bye", "ciao<|im_end|>");
  EXPECT_EQ(conversation_.ForgetFrom(3), before);
  conversation_.CutTo(before);
  EXPECT_EQ(Sent("well"), Encode("\n<|im_start|>user\nwell<|im_end|>\n<|im_start|>assistant\n"));
  EXPECT_EQ(conversation_.ForgetFrom(1), 0u);
  conversation_.CutTo(0);
  EXPECT_EQ(Sent("hi").size(), before - Encode("hello<|im_end|>").size());
}

TEST_F(ConversationTest, AnotherSystemMessageIsToldFromTheNextTurnOn) {
  Take("hi", "hello<|im_end|>");
  ASSERT_TRUE(conversation_.SetSystem("Be long.").ok());
  Conversation::Turn turn = Next("bye");
  EXPECT_EQ(turn.keep, Encode("<|im_start|>system\nBe ").size());
  EXPECT_EQ(turn.ids,
            Encode("long.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello"
                   "<|im_end|>\n<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n"));
  ASSERT_TRUE(conversation_.SetSystem("").ok());
  EXPECT_EQ(conversation_.system(), "");
  turn = Next("bye");
  EXPECT_EQ(turn.keep, Encode("<|im_start|>").size());
}

TEST_F(ConversationTest, IsRestoredWithAllThatItKnew) {
  Take("hi", "hello<|im_end|>");
  Take("bye", "ciao");
  ASSERT_TRUE(conversation_.Complete().ok());
  Conversation other(service_.Tokenizer(), "");
  other.Restore(conversation_.messages(), conversation_.ids());
  Conversation::Turn here, there;
  ASSERT_TRUE(conversation_.NextTurn("x", here).ok());
  ASSERT_TRUE(other.NextTurn("x", there).ok());
  EXPECT_EQ(here.keep, there.keep);
  EXPECT_EQ(here.ids, there.ids);
  std::vector<std::string> said;
  for (const Conversation::Message& message : other.messages()) {
    said.push_back(message.said.content());
  }
  EXPECT_THAT(said, ElementsAre("Be brief.", "hi", "hello", "bye", "ciao"));
}

TEST_F(ConversationTest, FailuresOfTheTokenizerAreHandedOnAndLeaveAllAsItWas) {
  Take("hi", "hello<|im_end|>");
  Conversation::Turn turn;
  service_.failure = {grpc::StatusCode::UNAVAILABLE, "gone"};
  EXPECT_EQ(conversation_.NextTurn("bye", turn).error_message(), "gone");
  service_.failure = grpc::Status::OK;
  EXPECT_EQ(Sent("bye"), Encode("\n<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n"));
}

TEST_F(ConversationTest, ATemplateThatShowsNoAnswersIsNoneForAnUnknownSession) {
  Conversation blind({[](const auto&, auto& response) {
                        for (const uint32_t id : {1, 2, 3}) response.add_ids(id);
                        return grpc::Status::OK;
                      },
                      Decode},
                     "");
  blind.Resume(2, {1, 2});
  Conversation::Turn turn;
  EXPECT_EQ(blind.NextTurn("hi", turn).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace kvasir::cli
