// A chat over a way that fails: calls that may not be carried out twice are not, and what was cut
// short is settled.
#include "services/cli/chat_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "services/grpc_status.h"
#include "tests/engine/temporary_directory.h"
#include "tests/services/cli/failing_relay.h"
#include "tests/services/model_server.h"
#include "tests/services/program.h"

namespace kvasir::cli {
namespace {

using kvasir::testing::CreateWith;
using kvasir::testing::FailingRelay;
using kvasir::testing::Get;
using kvasir::testing::ModelServer;
using kvasir::testing::Program;
using kvasir::testing::ReadAll;
using kvasir::testing::SomeIds;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using Behind = FailingRelay::Failure::Behind;

class ChatSessionTest : public ::testing::Test {
 protected:
  ChatSessionTest() {
    sampling_.temperature = 0;
    sampling_.max_new_tokens = 20;
  }

  ConnectionFlags Flags(double retry_for) const {
    ConnectionFlags flags;
    flags.model_server = relay_.address();
    flags.tokenizer_server = tokenizer_address_;
    flags.retry_for = retry_for;
    return flags;
  }

  // The chat knows what the session has.
  void ExpectInStep(ChatSession& chat) {
    EXPECT_EQ(ReadAll(server_.stub(), chat.id()).size(), chat.length());
  }

  Program tokenizer_{"kvasir-tokenizer",
                     {"--listen=127.0.0.1:0", "--metrics=", "--log-level=error"}};
  const std::string tokenizer_address_ = tokenizer_.AwaitLine("listening on ");
  ModelServer server_;
  FailingRelay relay_{server_.stub()};
  Connection connection_{Flags(60)};
  SamplingFlags sampling_;
};

TEST_F(ChatSessionTest, CallsOfASessionCarryItsHeader) {
  ChatSession chat(connection_, sampling_, "");
  ASSERT_TRUE(chat.Open("").ok());
  EXPECT_THAT(chat.id(), MatchesRegex("[0-9a-f]{32}")) << "the client chooses";
  ASSERT_TRUE(chat.Say("Hello").status.ok());
  ASSERT_TRUE(chat.Back().ok());
  v1::Session session;
  ASSERT_TRUE(chat.Describe(session).ok());
  for (const FailingRelay::Call& call : relay_.calls()) {
    EXPECT_EQ(call.session, chat.id()) << call.method;
  }
  ASSERT_TRUE(chat.Fork("").ok());
  EXPECT_THAT(chat.id(), MatchesRegex("[0-9a-f]{32}"));
  EXPECT_EQ(relay_.calls().back().method, "ForkSession");
  EXPECT_EQ(relay_.calls().back().session, chat.id()) << "where the new one will be asked for";
}

TEST_F(ChatSessionTest, ASessionIsCreatedOnceThoughTheAnswerIsLost) {
  for (const char* id : {"", "monday"}) {
    relay_.FailNext("CreateSession", {.behind = Behind::kCompleted});
    ChatSession chat(connection_, sampling_, "");
    const grpc::Status status = chat.Open(id);
    ASSERT_TRUE(status.ok()) << status.error_message();
    v1::Session session;
    EXPECT_TRUE(Get(server_.stub(), chat.id(), session).ok());
  }
}

TEST_F(ChatSessionTest, AForkWhoseAnswerIsLostIsKnownAgain) {
  CreateWith(server_.stub(), "taken", SomeIds(5, 1));
  ChatSession chat(connection_, sampling_, "");
  ASSERT_TRUE(chat.Open("source").ok());
  ASSERT_TRUE(chat.Say("Hello").status.ok());
  EXPECT_EQ(chat.Fork("taken").error_code(), grpc::StatusCode::ALREADY_EXISTS);
  relay_.FailNext("ForkSession", {});
  EXPECT_EQ(chat.Fork("taken").error_code(), grpc::StatusCode::ALREADY_EXISTS);
  relay_.FailNext("ForkSession", {.behind = Behind::kCompleted});
  const grpc::Status status = chat.Fork("copy");
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(chat.id(), "copy");
  ExpectInStep(chat);
}

TEST_F(ChatSessionTest, ACutWhoseAnswerIsLostIsDone) {
  ChatSession chat(connection_, sampling_, "");
  ASSERT_TRUE(chat.Open("s").ok());
  ASSERT_TRUE(chat.Say("Hello").status.ok());
  const uint64_t after_one = chat.length();
  ASSERT_TRUE(chat.Say("Hello again").status.ok());
  relay_.FailNext("TruncateSession", {.behind = Behind::kCompleted});
  EXPECT_TRUE(chat.Back().ok());
  EXPECT_EQ(chat.length(), after_one);
  ExpectInStep(chat);
  relay_.FailNext("TruncateSession", {});
  EXPECT_TRUE(chat.Reset().ok());
  ExpectInStep(chat);
}

TEST_F(ChatSessionTest, ATurnThatWasGivenUpIsSettledBeforeTheNext) {
  Connection hasty(Flags(0.01));
  for (const Behind behind : {Behind::kCancelled, Behind::kCompleted}) {
    ChatSession chat(hasty, sampling_, "");
    ASSERT_TRUE(chat.Open("").ok());
    ASSERT_TRUE(chat.Say("Hello").status.ok());
    const uint64_t before = chat.length();
    bool reachable = false;
    relay_.FailNext("Generate", {.behind = behind, .tokens = 3});
    relay_.FailWhile([&](const std::string& method) {
      return reachable || method == "Generate"
                 ? grpc::Status()
                 : grpc::Status(grpc::StatusCode::UNAVAILABLE, "no route");
    });
    const Generation cut = chat.Say("Again");
    EXPECT_EQ(cut.status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_THAT(cut.status.error_message(), HasSubstr("--retry-for"));
    EXPECT_EQ(cut.ids.size(), 3);
    EXPECT_TRUE(chat.unsettled());
    EXPECT_EQ(chat.length(), before);
    reachable = true;
    const Generation next = chat.Say("And again");
    ASSERT_TRUE(next.status.ok()) << next.status.error_message();
    EXPECT_FALSE(chat.unsettled());
    ExpectInStep(chat);
    ASSERT_TRUE(chat.Back().ok());
    EXPECT_GT(chat.length(), before + 3) << "the message, and the three tokens that were shown";
    ExpectInStep(chat);
    ASSERT_TRUE(chat.Back().ok());
    EXPECT_EQ(chat.length(), before);
  }
}

TEST_F(ChatSessionTest, AQuestionIsAskedAgainAndInAnotherWay) {
  sampling_.temperature = 1;
  sampling_.max_new_tokens = 8;
  ChatSession chat(connection_, sampling_, "");
  ASSERT_TRUE(chat.Open("").ok());
  EXPECT_EQ(chat.Retry().status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(chat.Say("Hello").status.ok());
  const Generation first = chat.Say("Tell me a story.");
  ASSERT_TRUE(first.status.ok());
  bool differs = false;
  for (int i = 0; i < 10 && !differs; ++i) {
    const Generation again = chat.Retry();
    ASSERT_TRUE(again.status.ok()) << again.status.error_message();
    differs = again.ids != first.ids;
    EXPECT_EQ(again.context, first.context);
  }
  EXPECT_TRUE(differs) << "the same eleven times, by eleven seeds";
  ASSERT_TRUE(chat.Edit(1, "Good evening").status.ok());
  EXPECT_EQ(chat.questions(), std::vector<std::string>{"Good evening"});
  ExpectInStep(chat);
  for (const size_t number : {0, 2}) {
    EXPECT_EQ(chat.Edit(number, "x").status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
}

TEST_F(ChatSessionTest, ATurnSendsOnlyItsOwnTokens) {
  ChatSession chat(connection_, sampling_, "");
  ASSERT_TRUE(chat.Open("").ok());
  for (int i = 0; i < 3; ++i) {
    const uint64_t before = chat.length();
    const Generation generation = chat.Say("Hello");
    ASSERT_TRUE(generation.status.ok());
    EXPECT_LT(generation.complete->usage().input_tokens(), 20);
    EXPECT_EQ(generation.context, before + generation.complete->usage().input_tokens());
    // The last token of an answer was never computed.
    EXPECT_EQ(generation.started.cached_tokens(), before > 0 ? before - 1 : 0);
  }
}

TEST_F(ChatSessionTest, AnotherSystemMessageKeepsWhatWasSaid) {
  ChatSession chat(connection_, sampling_, "Be brief.");
  ASSERT_TRUE(chat.Open("").ok());
  ASSERT_TRUE(chat.Say("Hello").status.ok());
  const uint64_t length = chat.length();
  ASSERT_TRUE(chat.SetSystem("").ok());
  ASSERT_TRUE(chat.Say("Hello").status.ok());
  ExpectInStep(chat);
  ASSERT_TRUE(chat.Back().ok());
  EXPECT_LT(chat.length(), length);
  EXPECT_EQ(chat.questions().size(), 1);
}

TEST_F(ChatSessionTest, AChatIsSavedAndTakenUp) {
  const kvasir::testing::TemporaryDirectory folder;
  const std::string file = (folder.path() / "chat.json").string();
  ChatSession chat(connection_, sampling_, "Be brief.");
  ASSERT_TRUE(chat.Open("").ok());
  ASSERT_TRUE(chat.Say("My name is Olga.").status.ok());
  grpc::Status status = chat.Save(file);
  ASSERT_TRUE(status.ok()) << status.error_message();

  // In its session, by a chat that knows all of it.
  ChatSession other(connection_, sampling_, "");
  ASSERT_TRUE(other.Open("").ok());
  status = other.Load(file);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(other.id(), chat.id());
  EXPECT_EQ(other.length(), chat.length());
  EXPECT_EQ(other.system(), "Be brief.");
  EXPECT_EQ(other.questions(), chat.questions());
  const Generation answer = other.Say("What is my name?");
  ASSERT_TRUE(answer.status.ok());

  // The session has gone on: in another one, with the same tokens.
  status = chat.Load(file);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_NE(chat.id(), other.id());
  EXPECT_EQ(chat.Say("What is my name?").ids, answer.ids);
  EXPECT_EQ(ReadAll(server_.stub(), chat.id()), ReadAll(server_.stub(), other.id()));
}

TEST_F(ChatSessionTest, WhatIsNoSavedChatIsRefused) {
  const kvasir::testing::TemporaryDirectory folder;
  const std::string file = (folder.path() / "chat.json").string();
  ChatSession chat(connection_, sampling_, "");
  ASSERT_TRUE(chat.Open("").ok());
  EXPECT_EQ(chat.Load(file).error_code(), grpc::StatusCode::NOT_FOUND);
  const std::string id = chat.id();
  const std::string start = R"({"format": "kvasir-chat-1", "session_id": "s", "tokenizer": "t", )";
  for (const auto& [text, word] : std::vector<std::pair<std::string, std::string>>{
           {"", "/save"},
           {"{}", "/save"},
           {R"({"format": "kvasir-chat-1"})", "session_id"},
           {start + R"("messages": []})", "ids"},
           {start + R"("ids": [-1], "messages": []})", "ids"},
           {start + R"("ids": [1], "messages": [{"role": "user"}]})", "messages[0]"},
           {start + R"("ids": [1], "messages": [{"role": "user", "content": "", "end": 2}]})",
            "messages[0]"}}) {
    std::ofstream(file) << text;
    const grpc::Status status = chat.Load(file);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << text;
    EXPECT_THAT(status.error_message(), HasSubstr(word));
  }
  EXPECT_EQ(chat.id(), id);
  EXPECT_FALSE(chat.Save((folder.path() / "no" / "such" / "folder").string()).ok());
}

TEST_F(ChatSessionTest, AnUnknownBeginningIsNotSaved) {
  CreateWith(server_.stub(), "s", SomeIds(5, 1));
  ChatSession chat(connection_, sampling_, "");
  ASSERT_TRUE(chat.Open("s").ok());
  ASSERT_TRUE(chat.Say("Hello").status.ok());
  EXPECT_EQ(chat.Save("/nonexistent").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(chat.Back().ok());
  EXPECT_EQ(chat.length(), 5);
  EXPECT_EQ(chat.Back().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(ChatSessionTest, ASessionIsDeletedOnceThoughTheAnswerIsLost) {
  CreateWith(server_.stub(), "s", SomeIds(5, 1));
  const std::vector<std::string> arguments = {"sessions", "delete", "s",
                                              "--model-server=" + relay_.address()};
  relay_.FailNext("DeleteSession", {.behind = Behind::kCompleted});
  Program once("kvasir", arguments);
  EXPECT_EQ(once.Wait(), 0);
  EXPECT_EQ(once.standard_error(), "");
  EXPECT_EQ(relay_.Count("DeleteSession"), 2);
  Program again("kvasir", arguments);
  EXPECT_EQ(again.Wait(), 1);
  EXPECT_THAT(again.standard_error(), HasSubstr("NOT_FOUND"));
}

}  // namespace
}  // namespace kvasir::cli
