// A turn over a way that fails at every place where it can: appended once, given out once.
#include "services/cli/resumable_turn.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <thread>

#include "engine/journal/open_store.h"
#include "services/cli/interrupts.h"
#include "services/grpc_status.h"
#include "tests/services/cli/failing_relay.h"
#include "tests/services/model_server.h"

namespace kvasir::cli {
namespace {

using kvasir::testing::AskFor;
using kvasir::testing::CreateWith;
using kvasir::testing::Delete;
using kvasir::testing::FailingRelay;
using kvasir::testing::Fork;
using kvasir::testing::Generate;
using kvasir::testing::Get;
using kvasir::testing::Ids;
using kvasir::testing::ModelServer;
using kvasir::testing::ReadAll;
using kvasir::testing::SomeIds;
using kvasir::testing::TemporaryDirectory;
using kvasir::testing::TinyOptions;
using kvasir::testing::Truncate;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Failure = FailingRelay::Failure;
using Behind = FailingRelay::Failure::Behind;

constexpr uint32_t kNewTokens = 40;

// A session "s" of 10 tokens behind a relay, and a turn of it.
class ResumableTurnTest : public ::testing::Test {
 protected:
  ResumableTurnTest() : server_(std::make_unique<ModelServer>(Options())), relay_(server_->stub()) {
    before_ = CreateWith(server_->stub(), "s", SomeIds(10, 1)).length();
    CreateWith(server_->stub(), "other", SomeIds(5, 3));
    request_ = AskFor("s", SomeIds(7, 2), kNewTokens);
    request_.mutable_sampling()->set_temperature(1);
    whole_ = Undisturbed("s");
  }

  EngineOptions Options() const {
    EngineOptions options = TinyOptions();
    auto store = OpenSessionStore("sqlite:" + (directory_.path() / "sessions").string(), "here");
    EXPECT_TRUE(store.ok());
    options.session_store = *std::move(store);
    return options;
  }

  // What the turn gives in a fork of the session.
  Ids Undisturbed(const std::string& id) {
    v1::ForkSessionRequest fork;
    fork.set_session_id(id);
    fork.set_new_session_id("undisturbed");
    EXPECT_TRUE(Fork(server_->stub(), fork).ok());
    v1::GenerateRequest request = request_;
    request.set_session_id("undisturbed");
    return Generate(server_->stub(), request).ids;
  }

  void Restart() {
    server_.reset();
    server_ = std::make_unique<ModelServer>(Options());
    relay_.ServedBy(server_->stub());
  }

  void TruncateTo(uint64_t length) {
    v1::TruncateSessionRequest request;
    request.set_session_id("s");
    request.set_length(length);
    EXPECT_TRUE(Truncate(server_->stub(), request).ok());
  }

  void SomebodyElseWrites() {
    EXPECT_TRUE(Generate(server_->stub(), AskFor("s", SomeIds(3, 9), 2)).status.ok());
  }

  grpc::Status Run() {
    turn_ = std::make_unique<ResumableTurn>(
        relay_.stub(), request_, retries_,
        [this](const std::string& line) { warnings_.push_back(line); });
    return turn_->Run([this](const v1::TokenChunk& chunk) {
      shown_.insert(shown_.end(), chunk.ids().begin(), chunk.ids().end());
      logprobs_ += static_cast<size_t>(chunk.logprobs_size());
    });
  }

  // All of the answer was shown, each token once, and the session has the turn, once.
  void ExpectWhole() {
    const grpc::Status status = Run();
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(shown_, whole_);
    EXPECT_EQ(turn_->ids(), whole_);
    EXPECT_THAT(warnings_, IsEmpty());
    ASSERT_TRUE(turn_->complete().has_value());
    EXPECT_EQ(turn_->complete()->finish_reason(), v1::FINISH_REASON_MAX_NEW_TOKENS);
    EXPECT_EQ(turn_->complete()->session_length(), before_ + 7 + kNewTokens);
    EXPECT_EQ(turn_->complete()->usage().generated_tokens(), kNewTokens);
    EXPECT_EQ(turn_->complete()->usage().input_tokens(), 7);
    Ids session = ReadAll(server_->stub(), "s");
    Ids expected = SomeIds(10, 1);
    const Ids input = SomeIds(7, 2);
    expected.insert(expected.end(), input.begin(), input.end());
    expected.insert(expected.end(), whole_.begin(), whole_.end());
    EXPECT_EQ(session, expected);
    for (const FailingRelay::Call& call : relay_.calls()) {
      EXPECT_EQ(call.session, call.method == "GetModelInfo" ? "" : "s") << call.method;
    }
  }

  TemporaryDirectory directory_;
  std::unique_ptr<ModelServer> server_;
  FailingRelay relay_;
  uint64_t before_ = 0;
  v1::GenerateRequest request_;
  Ids whole_;

  Retries::Clock::time_point now_;
  std::function<void()> on_sleep_ = [] {};
  std::vector<std::string> told_, warnings_;
  Retries retries_{seconds(30),
                   {.now = [this] { return now_; },
                    .sleep =
                        [this](Retries::Clock::duration time) {
                          now_ += time;
                          on_sleep_();
                        },
                    .tell = [this](const std::string& line) { told_.push_back(line); }}};
  std::unique_ptr<ResumableTurn> turn_;
  Ids shown_;
  size_t logprobs_ = 0;
};

TEST_F(ResumableTurnTest, UndisturbedItIsOneCall) {
  ExpectWhole();
  EXPECT_EQ(relay_.Count("Generate"), 1);
  EXPECT_TRUE(turn_->complete()->has_timing());
  const v1::GenerateRequest& sent = relay_.requests()[0];
  EXPECT_EQ(sent.expected_length(), before_);
  EXPECT_EQ(sent.request_id().size(), 32);
}

TEST_F(ResumableTurnTest, ACallThatNeverArrivedIsRepeated) {
  relay_.FailNext("GetSession", {});
  relay_.FailNext("Generate", {});
  ExpectWhole();
  EXPECT_EQ(relay_.Count("Generate"), 2);
}

TEST_F(ResumableTurnTest, CutBeforeItStartedForTheClient) {
  relay_.FailNext("Generate", {.behind = Behind::kCancelled, .started = false, .tokens = 0});
  ExpectWhole();
}

TEST_F(ResumableTurnTest, CutBetweenTokens) {
  for (const size_t tokens : {0, 1, 7, 39}) {
    SCOPED_TRACE(tokens);
    relay_.FailNext("Generate", {.behind = Behind::kCancelled, .tokens = tokens});
    relay_.FailNext("GetSession", {});
    shown_.clear();
    ExpectWhole();
    TruncateTo(before_);
  }
}

TEST_F(ResumableTurnTest, CutByAProxyThatLostItsServer) {
  relay_.FailNext("Generate", {.behind = Behind::kCancelled,
                               .status = {grpc::StatusCode::UNKNOWN, "Stream removed"},
                               .tokens = 7,
                               .then = [this] { TruncateTo(before_); }});
  ExpectWhole();
}

TEST_F(ResumableTurnTest, CutAgainAndAgain) {
  for (const size_t tokens : {7, 3, 0, 12}) {
    relay_.FailNext("Generate", {.behind = Behind::kCancelled, .tokens = tokens});
    relay_.FailNext("Generate", {});
  }
  relay_.FailNext("ReadSession", {});
  ExpectWhole();
}

TEST_F(ResumableTurnTest, TheEndIsLostAfterTheLastToken) {
  relay_.FailNext("Generate", {.behind = Behind::kCompleted});
  ExpectWhole();
  EXPECT_EQ(relay_.Count("Generate"), 1) << "the turn is there";
}

TEST_F(ResumableTurnTest, TheWholeAnswerIsLostAfterItWasAppended) {
  relay_.FailNext("Generate", {.behind = Behind::kCompleted, .started = false, .tokens = 0});
  ExpectWhole();
  EXPECT_EQ(relay_.Count("Generate"), 1) << "the turn is there";
}

TEST_F(ResumableTurnTest, ATurnThatACrashTookBackIsRepeatedAndNotShownTwice) {
  relay_.FailNext("Generate", {.behind = Behind::kCancelled, .tokens = 7, .then = [this] {
                                 TruncateTo(before_);
                               }});
  ExpectWhole();
}

TEST_F(ResumableTurnTest, OfATurnACrashLeftLessThanWasShown) {
  relay_.FailNext("Generate", {.behind = Behind::kCompleted, .tokens = 20, .then = [this] {
                                 TruncateTo(before_ + 7 + 5);
                               }});
  relay_.OnGetSession([this](v1::Session& session) {
    if (session.length() > before_) session.set_last_finish_reason(v1::FINISH_REASON_INTERRUPTED);
  });
  ExpectWhole();
  ASSERT_EQ(relay_.Count("Generate"), 2);
  EXPECT_EQ(relay_.requests()[1].max_new_tokens(), kNewTokens - 5);
  EXPECT_EQ(relay_.requests()[1].input_ids_size(), 0);
}

TEST_F(ResumableTurnTest, TheServerIsRestarted) {
  relay_.FailNext("Generate",
                  {.behind = Behind::kCancelled, .tokens = 7, .then = [this] { Restart(); }});
  relay_.FailNext("Generate",
                  {.behind = Behind::kCompleted, .tokens = 2, .then = [this] { Restart(); }});
  ExpectWhole();
}

TEST_F(ResumableTurnTest, AnotherReplicasLeaseIsWaitedFor) {
  relay_.FailWhile([this](const std::string& method) {
    const bool held = method == "Generate" && now_.time_since_epoch() < seconds(2);
    return held ? ToGrpcStatus(MakeError(Reason::kNotOwner, "another replica's")) : grpc::Status();
  });
  ExpectWhole();
  EXPECT_LE(told_.size(), 1);
  EXPECT_LE(relay_.Count("Generate"), 10) << "waits grow";
}

TEST_F(ResumableTurnTest, ASessionThatWasTakenOverIsTakenBack) {
  relay_.FailNext("Generate", {.behind = Behind::kCancelled,
                               .status = ToGrpcStatus(MakeError(Reason::kLeaseLost, "too late")),
                               .tokens = 3,
                               .then = [this] { TruncateTo(before_); }});
  ExpectWhole();
}

TEST_F(ResumableTurnTest, ACallThatStillRunsIsWaitedFor) {
  relay_.FailNext("Generate", {.behind = Behind::kCompleted, .tokens = 3});
  int looks = 0;
  relay_.OnGetSession([&](v1::Session& session) {
    ++looks;
    if (looks != 2) return;
    session.set_busy(true);
    session.set_length(before_);
    session.clear_last_request_id();
  });
  ExpectWhole();
  EXPECT_EQ(relay_.Count("Generate"), 1);
}

TEST_F(ResumableTurnTest, AnAttemptOfOursThatCameLateIsFound) {
  for (const Reason reason : {Reason::kSessionBusy, Reason::kLengthMismatch}) {
    // It is seen as not there, and comes through while the next attempt is on its way.
    relay_.FailNext("Generate", {});
    relay_.FailNext("Generate", {.behind = Behind::kCompleted,
                                 .status = ToGrpcStatus(MakeError(reason, "late")),
                                 .started = false,
                                 .tokens = 0});
    shown_.clear();
    ExpectWhole();
    TruncateTo(before_);
  }
  EXPECT_EQ(relay_.Count("Generate"), 4);
}

TEST_F(ResumableTurnTest, ASessionThatSomebodyElseHasWrittenIsLeftAlone) {
  relay_.FailNext("Generate", {.then = [this] { SomebodyElseWrites(); }});
  const grpc::Status status = Run();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(status.error_message(), HasSubstr("somebody else has written session 's'"));
  EXPECT_THAT(shown_, IsEmpty());
  EXPECT_EQ(ReadAll(server_->stub(), "s").size(), before_ + 5);
  EXPECT_EQ(relay_.Count("Generate"), 1);
}

TEST_F(ResumableTurnTest, SomebodyElsesTurnAfterOursIsAnErrorToo) {
  relay_.FailNext("Generate", {.behind = Behind::kCompleted, .tokens = 3, .then = [this] {
                                 SomebodyElseWrites();
                               }});
  EXPECT_EQ(Run().error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(shown_.size(), 3);
  EXPECT_EQ(ReadAll(server_->stub(), "s").size(), before_ + 7 + kNewTokens + 5);
}

TEST_F(ResumableTurnTest, AMismatchOfTheFirstAttemptIsTheCallersToSolve) {
  request_.set_expected_length(3);
  const grpc::Status status = Run();
  EXPECT_EQ(DetailOf(status).reason, "LENGTH_MISMATCH");
  EXPECT_EQ(relay_.calls().size(), 1);
}

TEST_F(ResumableTurnTest, WhenTheBudgetIsSpentItSaysSoAndWhy) {
  relay_.FailWhile([](const std::string&) {
    return ToGrpcStatus(MakeError(Reason::kStore, "the store does not answer"));
  });
  const grpc::Status status = Run();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("given up after 30 s (--retry-for)"));
  EXPECT_THAT(status.error_message(), HasSubstr("the store does not answer"));
  EXPECT_EQ(DetailOf(status).reason, "STORE");
  EXPECT_EQ(now_.time_since_epoch(), seconds(30));
  EXPECT_EQ(told_.size(), 1);
}

TEST_F(ResumableTurnTest, TheBudgetIsAnOutagesAndSeesThatTheSessionCanBeRead) {
  relay_.FailWhile([](const std::string& method) {
    return method == "Generate" ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "full")
                                : grpc::Status();
  });
  EXPECT_EQ(Run().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(now_.time_since_epoch(), seconds(30)) << "GetSession's success is no progress";
}

TEST_F(ResumableTurnTest, CtrlCEndsTheWait) {
  Interrupts::Get();
  relay_.FailNext("Generate", {.behind = Behind::kCancelled, .tokens = 4});
  on_sleep_ = [] {
    std::raise(SIGINT);
    while (!Interrupts::Get().pending()) std::this_thread::yield();
  };
  const grpc::Status status = Run();
  Interrupts::Get().Clear();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(shown_.size(), 4);
  EXPECT_EQ(relay_.Count("Generate"), 1);
}

TEST_F(ResumableTurnTest, ATurnThatAStopTokenEndedIsWholeThoughTheServerCrashed) {
  for (const bool by_request : {true, false}) {
    SCOPED_TRACE(by_request);
    // The model's own stop token, if it is not asked for by the request.
    uint32_t stop = whole_[20];
    if (by_request) {
      request_.add_stop_token_ids(stop);
    } else {
      request_.clear_stop_token_ids();
      request_.set_ignore_eos(false);
      v1::GetModelInfoResponse info;
      grpc::ClientContext context;
      ASSERT_TRUE(server_->stub().GetModelInfo(&context, {}, &info).ok());
      stop = info.eos_token_ids(0);
      (*request_.mutable_sampling()->mutable_logit_bias())[stop] = 100;
    }
    relay_.FailNext("Generate", {.behind = Behind::kCompleted, .tokens = 0});
    relay_.OnGetSession([this](v1::Session& session) {
      if (session.length() > before_) session.set_last_finish_reason(v1::FINISH_REASON_INTERRUPTED);
    });
    shown_.clear();
    const grpc::Status status = Run();
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_FALSE(shown_.empty());
    EXPECT_EQ(shown_.back(), stop);
    EXPECT_EQ(turn_->complete()->finish_reason(), v1::FINISH_REASON_STOP_TOKEN);
    TruncateTo(before_);
  }
  EXPECT_EQ(relay_.Count("Generate"), 2);
}

TEST_F(ResumableTurnTest, ARepeatedTurnThatComesOutOtherwiseIsToldOf) {
  relay_.FailNext("Generate",
                  {.behind = Behind::kCancelled, .tokens = 4, .wrong_tokens = true, .then = [this] {
                     TruncateTo(before_);
                   }});
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("numerics")));
  EXPECT_EQ(shown_.size(), kNewTokens);
  EXPECT_EQ(turn_->ids(), whole_) << "as the session has it";
}

TEST_F(ResumableTurnTest, WhatIsReadFromTheSessionHasNoLogProbabilities) {
  request_.set_top_logprobs(2);
  relay_.FailNext("Generate", {.behind = Behind::kCompleted, .tokens = 10});
  ExpectWhole();
  EXPECT_EQ(logprobs_, 10);
}

TEST_F(ResumableTurnTest, ASessionThatTheTurnCreatedComesBackTheSame) {
  request_.set_session_id("new");
  request_.set_create_if_missing(true);
  relay_.FailNext("Generate", {.behind = Behind::kCancelled, .tokens = 5, .then = [this] {
                                 EXPECT_TRUE(Delete(server_->stub(), "new").ok());
                               }});
  const grpc::Status status = Run();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(shown_.size(), kNewTokens);
  EXPECT_THAT(warnings_, IsEmpty()) << "by the seed of the first";
  v1::Session session;
  ASSERT_TRUE(Get(server_->stub(), "new", session).ok());
  EXPECT_EQ(session.length(), 7 + kNewTokens);
}

TEST_F(ResumableTurnTest, ADeletedSessionStaysDeleted) {
  request_.set_session_id("new");
  request_.set_create_if_missing(true);
  relay_.FailNext("Generate",
                  {.behind = Behind::kCancelled,
                   .status = {grpc::StatusCode::CANCELLED, "it was deleted"},
                   .tokens = 5,
                   .then = [this] { EXPECT_TRUE(Delete(server_->stub(), "new").ok()); }});
  EXPECT_EQ(Run().error_code(), grpc::StatusCode::NOT_FOUND);
  v1::Session session;
  EXPECT_EQ(Get(server_->stub(), "new", session).error_code(), grpc::StatusCode::NOT_FOUND);
  // Nor does one come back that had been there before.
  request_.set_session_id("s");
  relay_.FailNext("Generate", {.then = [this] { EXPECT_TRUE(Delete(server_->stub(), "s").ok()); }});
  EXPECT_EQ(Run().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ResumableTurnTest, AnUnknownSessionIsAnErrorUnlessItIsToBeCreated) {
  request_.set_session_id("nobody");
  EXPECT_EQ(Run().error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(relay_.Count("Generate"), 0);
}

TEST_F(ResumableTurnTest, ACallWithoutASessionIsRepeatedWithItsSeed) {
  request_.clear_session_id();
  relay_.FailNext("Generate", {.behind = Behind::kCancelled, .tokens = 5});
  const grpc::Status status = Run();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(shown_.size(), kNewTokens);
  EXPECT_THAT(warnings_, IsEmpty());
  ASSERT_EQ(relay_.requests().size(), 2);
  EXPECT_FALSE(relay_.requests()[0].sampling().has_seed());
  EXPECT_EQ(relay_.requests()[1].sampling().seed(), turn_->started().seed());
  for (const FailingRelay::Call& call : relay_.calls()) EXPECT_EQ(call.session, "");
}

TEST_F(ResumableTurnTest, AnErrorOfTheCallIsNotTriedAgain) {
  request_.mutable_sampling()->set_temperature(-1);
  EXPECT_EQ(Run().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(relay_.Count("Generate"), 1);
}

}  // namespace
}  // namespace kvasir::cli
