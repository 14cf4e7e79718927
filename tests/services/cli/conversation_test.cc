#include "services/cli/conversation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace kvasir::cli {
namespace {

using TokenIds = Conversation::TokenIds;

constexpr uint32_t kStart = 1000;  // <|im_start|>
constexpr uint32_t kEnd = 1001;    // <|im_end|>

// A token a byte, and one for each of ChatML's marks.
TokenIds Encode(std::string_view text) {
  TokenIds ids;
  for (size_t at = 0; at < text.size();) {
    if (text.substr(at).starts_with("<|im_start|>")) {
      ids.push_back(kStart);
      at += 12;
    } else if (text.substr(at).starts_with("<|im_end|>")) {
      ids.push_back(kEnd);
      at += 10;
    } else {
      ids.push_back(static_cast<uint8_t>(text[at++]));
    }
  }
  return ids;
}

grpc::Status ChatMl(const std::vector<v1::ChatMessage>& messages, TokenIds& ids) {
  std::string text;
  for (const v1::ChatMessage& message : messages) {
    text += "<|im_start|>" + message.role() + "\n" + message.content() + "<|im_end|>\n";
  }
  ids = Encode(text + "<|im_start|>assistant\n");
  return grpc::Status::OK;
}

TokenIds NextTurn(const Conversation& conversation, std::string_view text) {
  TokenIds ids;
  const grpc::Status status = conversation.NextTurn(text, ids);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return ids;
}

TEST(Conversation, TheFirstTurnIsTheWholeRendering) {
  EXPECT_EQ(NextTurn(Conversation(ChatMl, ""), "hi"),
            Encode("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"));
  EXPECT_EQ(NextTurn(Conversation(ChatMl, "Be brief."), "hi"),
            Encode("<|im_start|>system\nBe brief.<|im_end|>\n"
                   "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"));
}

TEST(Conversation, ALaterTurnIsWhatTheSessionLacks) {
  Conversation conversation(ChatMl, "Be brief.");
  const TokenIds first = NextTurn(conversation, "hi");
  // The stop token is the session's already, the newline after it is not.
  conversation.AddTurn(first, Encode("hello<|im_end|>"));
  EXPECT_EQ(NextTurn(conversation, "bye"),
            Encode("\n<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n"));
}

TEST(Conversation, AnAnswerThatWasCutShortIsClosed) {
  Conversation conversation(ChatMl, "");
  conversation.AddTurn(NextTurn(conversation, "hi"), Encode("hel"));
  EXPECT_EQ(NextTurn(conversation, "bye"),
            Encode("<|im_end|>\n<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n"));
}

TEST(Conversation, AllThatWasSentIsTheTemplatesRendering) {
  Conversation conversation(ChatMl, "");
  TokenIds session;
  for (const char* answer : {"one<|im_end|>", "two", "three<|im_end|>\n", "four<|im_end|>"}) {
    const TokenIds sent = NextTurn(conversation, "next");
    conversation.AddTurn(sent, Encode(answer));
    session.insert(session.end(), sent.begin(), sent.end());
    const TokenIds generated = Encode(answer);
    session.insert(session.end(), generated.begin(), generated.end());
  }
  std::string text;
  for (const char* answer : {"one", "two", "three", "four"}) {
    text += "<|im_start|>user\nnext<|im_end|>\n<|im_start|>assistant\n";
    text += answer + std::string("<|im_end|>\n");
  }
  text.pop_back();  // The last answer's newline is the next turn's to send.
  EXPECT_EQ(session, Encode(text));
}

// As Qwen3's template does: an answer's thinking is shown only where it is the last message.
grpc::Status CutsThinking(const std::vector<v1::ChatMessage>& messages, TokenIds& ids) {
  std::string text;
  for (size_t i = 0; i < messages.size(); ++i) {
    text += "<|im_start|>" + messages[i].role() + "\n";
    if (messages[i].role() == "assistant" && i + 1 == messages.size()) text += "<think></think>";
    text += messages[i].content() + "<|im_end|>\n";
  }
  ids = Encode(text + "<|im_start|>assistant\n");
  return grpc::Status::OK;
}

TEST(Conversation, ATemplateMayRewriteOlderAnswers) {
  Conversation conversation(CutsThinking, "");
  conversation.AddTurn(NextTurn(conversation, "hi"), Encode("<think>hm</think>hello<|im_end|>"));
  EXPECT_EQ(NextTurn(conversation, "bye"),
            Encode("\n<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n"));
}

TEST(Conversation, GoesOnInASessionThatWasThere) {
  Conversation conversation(ChatMl, "");
  conversation.Resume(500, Encode("o<|im_end|>"));
  EXPECT_EQ(conversation.length(), 500u);
  EXPECT_EQ(NextTurn(conversation, "bye"),
            Encode("\n<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n"));
  EXPECT_FALSE(conversation.BeforeLastTurn().has_value());
  conversation.AddTurn(Encode("abc"), Encode("de"));
  EXPECT_EQ(conversation.length(), 505u);
  EXPECT_EQ(conversation.BeforeLastTurn(), 500u);
  conversation.RemoveLastTurn();
  EXPECT_EQ(conversation.length(), 500u);
  EXPECT_EQ(NextTurn(conversation, "bye"),
            Encode("\n<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n"));
}

TEST(Conversation, TurnsAreTakenBackOneByOne) {
  Conversation conversation(ChatMl, "");
  conversation.AddTurn(Encode("abc"), Encode("d"));
  conversation.AddTurn(Encode("ef"), Encode("ghi"));
  EXPECT_EQ(conversation.length(), 9u);
  EXPECT_EQ(conversation.BeforeLastTurn(), 4u);
  conversation.RemoveLastTurn();
  EXPECT_EQ(conversation.length(), 4u);
  EXPECT_EQ(conversation.BeforeLastTurn(), 0u);
  conversation.RemoveLastTurn();
  EXPECT_EQ(conversation.length(), 0u);
  EXPECT_FALSE(conversation.BeforeLastTurn().has_value());
}

TEST(Conversation, AfterAResetTheSystemMessageIsToldAgain) {
  Conversation conversation(ChatMl, "S");
  conversation.AddTurn(NextTurn(conversation, "hi"), Encode("hello<|im_end|>"));
  conversation.Clear();
  EXPECT_EQ(conversation.length(), 0u);
  EXPECT_EQ(NextTurn(conversation, "hi").front(), kStart);
  EXPECT_EQ(NextTurn(conversation, "hi")[1], static_cast<uint32_t>('s'));
}

TEST(Conversation, FailuresOfTheTemplateAreHandedOn) {
  const auto fails = [](const std::vector<v1::ChatMessage>&, TokenIds&) {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
  };
  TokenIds ids;
  EXPECT_EQ(Conversation(fails, "").NextTurn("hi", ids).error_message(), "gone");

  const auto blind = [](const std::vector<v1::ChatMessage>&, TokenIds& rendering) {
    rendering = {1, 2, 3};
    return grpc::Status::OK;
  };
  Conversation conversation(blind, "");
  conversation.AddTurn({1}, {2});
  EXPECT_EQ(conversation.NextTurn("hi", ids).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace kvasir::cli
