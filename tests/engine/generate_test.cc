// What Generate and the session calls mean, through the engine's public interface.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "engine/error.h"
#include "tests/engine/engine_harness.h"
#include "tests/engine/random_model.h"

namespace kvasir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::RandomModel;
using testing::Recorder;
using ::testing::SizeIs;
using testing::SyncEngine;

constexpr int kEos = RandomModel::kEos;

class GenerateTest : public ::testing::Test {
 protected:
  static SyncEngine& engine() {
    static SyncEngine engine(RandomModel::Options());
    return engine;
  }
  static void ExpectError(const absl::Status& status, absl::StatusCode code,
                          const std::string& reason, const std::string& message) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_EQ(DetailOf(status).reason, reason);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
  static GenerateRequest OnSession(const std::string& id, std::vector<int> ids, uint32_t n) {
    return {.session_id = id,
            .input_ids = std::move(ids),
            .max_new_tokens = n,
            .ignore_eos = true,
            .create_if_missing = true};
  }
};

TEST(Engine, ItsFiguresAreThereFromTheStart) {
  for (int i = 0; i < 20; ++i) {  // the engine's thread may or may not have run by then
    const absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(RandomModel::Options());
    ASSERT_TRUE(engine.ok());
    EXPECT_GT((*engine)->stats().kv_blocks_total, 0);
  }
}

TEST_F(GenerateTest, OneShotKeepsNothing) {
  const Outcome outcome =
      engine().Generate({.input_ids = {1, 2, 3}, .max_new_tokens = 5, .ignore_eos = true});
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.ids.size(), 5);
  EXPECT_EQ(outcome.started.session_id, "");
  EXPECT_EQ(outcome.complete.finish_reason, FinishReason::kMaxNewTokens);
  EXPECT_EQ(outcome.complete.session_length, 8);
  EXPECT_EQ(outcome.complete.input_tokens, 3);
  EXPECT_EQ(outcome.complete.generated_tokens, 5);
  EXPECT_EQ(outcome.complete.computed_tokens, 7);  // the last token's K and V are not needed
  EXPECT_EQ(engine().Stats().kv_blocks_used, 0);
}

TEST_F(GenerateTest, InputAddsAndEmptyInputContinues) {
  ASSERT_TRUE(engine().Generate(OnSession("adds", {1, 2, 3}, 4)).status.ok());
  const Outcome more = engine().Generate(OnSession("adds", {}, 3));
  EXPECT_EQ(more.started.session_length, 7);
  EXPECT_EQ(more.started.cached_tokens, 6);
  EXPECT_EQ(more.complete.computed_tokens, 3);
  const Outcome added = engine().Generate(OnSession("adds", {9, 8}, 1));
  EXPECT_EQ(added.started.session_length, 10);
  EXPECT_EQ(added.complete.session_length, 13);
  const auto ids = engine().Read("adds");
  ASSERT_TRUE(ids.ok());
  ASSERT_THAT(*ids, SizeIs(13));
  EXPECT_EQ((*ids)[10], 9);
  EXPECT_THAT(std::vector<int>(ids->begin() + 7, ids->begin() + 10),
              ::testing::ElementsAreArray(more.ids));
}

TEST_F(GenerateTest, ZeroNewTokensOnlyProcessesInput) {
  const Outcome outcome = engine().Generate(OnSession("zero", {1, 2, 3}, 0));
  EXPECT_TRUE(outcome.ids.empty());
  EXPECT_EQ(outcome.complete.finish_reason, FinishReason::kMaxNewTokens);
  EXPECT_EQ(outcome.complete.computed_tokens, 3);
  EXPECT_EQ(engine().Get("zero")->cached_tokens, 3);
  // Nothing is left to do: at once, and still whole.
  const Outcome nothing = engine().Generate(OnSession("zero", {}, 0));
  ASSERT_TRUE(nothing.status.ok());
  EXPECT_EQ(nothing.complete.computed_tokens, 0);
  EXPECT_EQ(nothing.complete.session_length, 3);
  // The last token is computed again for its logits.
  EXPECT_EQ(engine().Generate(OnSession("zero", {}, 1)).complete.computed_tokens, 1);
}

TEST_F(GenerateTest, TwentyAndTwentyEqualForty) {
  ASSERT_TRUE(engine().Generate(OnSession("base", {5, 6, 7}, 0)).status.ok());
  ASSERT_TRUE(engine().Fork("base", "parts").ok());
  ASSERT_TRUE(engine().Fork("base", "whole").ok());
  std::vector<int> parts = engine().Generate(OnSession("parts", {}, 20)).ids;
  const std::vector<int> rest = engine().Generate(OnSession("parts", {}, 20)).ids;
  parts.insert(parts.end(), rest.begin(), rest.end());
  EXPECT_EQ(parts, engine().Generate(OnSession("whole", {}, 40)).ids);
}

TEST_F(GenerateTest, StopsAtStopAndEosTokens) {
  const std::vector<int> ids = engine()
                                   .Generate({.input_ids = {1, 2},
                                              .max_new_tokens = 30,
                                              .sampling = {.seed = 3},
                                              .ignore_eos = true})
                                   .ids;
  const int stop = ids[4];
  const size_t first = std::find(ids.begin(), ids.end(), stop) - ids.begin();
  const Outcome outcome = engine().Generate({.input_ids = {1, 2},
                                             .max_new_tokens = 30,
                                             .sampling = {.seed = 3},
                                             .stop_token_ids = {stop},
                                             .ignore_eos = true});
  EXPECT_EQ(outcome.complete.finish_reason, FinishReason::kStopToken);
  ASSERT_EQ(outcome.ids.size(), first + 1);
  EXPECT_EQ(outcome.ids.back(), stop);  // it belongs to the stream and the session

  const SamplingOverrides certain = {.temperature = 0.0f, .logit_bias = {{kEos, 100.f}}};
  const Outcome eos =
      engine().Generate({.input_ids = {1}, .max_new_tokens = 9, .sampling = certain});
  EXPECT_THAT(eos.ids, ElementsAre(kEos));
  EXPECT_EQ(eos.complete.finish_reason, FinishReason::kStopToken);
  EXPECT_THAT(
      engine()
          .Generate(
              {.input_ids = {1}, .max_new_tokens = 9, .sampling = certain, .ignore_eos = true})
          .ids,
      SizeIs(9));
}

TEST_F(GenerateTest, EndsAtTheContextLimit) {
  SyncEngine small(RandomModel::Options({.max_positions = 40}));
  const Outcome outcome = small.Generate({.session_id = "s",
                                          .input_ids = std::vector(30, 1),
                                          .ignore_eos = true,
                                          .create_if_missing = true});
  EXPECT_EQ(outcome.complete.finish_reason, FinishReason::kMaxContext);
  EXPECT_EQ(outcome.complete.session_length, 40);
  const Outcome full = small.Generate({.session_id = "s"});
  ASSERT_TRUE(full.status.ok()) << full.status;
  EXPECT_EQ(full.complete.finish_reason, FinishReason::kMaxContext);
  EXPECT_TRUE(full.ids.empty());
  ExpectError(small.Generate({.session_id = "s", .input_ids = {1}}).status,
              absl::StatusCode::kOutOfRange, "CONTEXT_EXCEEDED", "context of 40");
}

TEST_F(GenerateTest, EndsWhereThePoolEnds) {
  // 4 blocks hold 64 tokens; a 65th needs no K and V.
  SyncEngine small(RandomModel::Options({.kv_tokens = 64}));
  const Outcome outcome = small.Generate(
      {.session_id = "s", .input_ids = {1, 2}, .ignore_eos = true, .create_if_missing = true});
  EXPECT_EQ(outcome.complete.finish_reason, FinishReason::kMaxContext);
  EXPECT_EQ(outcome.complete.session_length, 65);
  ExpectError(small.Generate({.input_ids = std::vector(66, 1)}).status,
              absl::StatusCode::kResourceExhausted, "KV_TOO_SMALL", "pool holds 64");
  ExpectError(small.Generate({.input_ids = {1}, .max_new_tokens = 65}).status,
              absl::StatusCode::kResourceExhausted, "KV_TOO_SMALL", "pool holds 64");
  EXPECT_TRUE(small.Generate({.input_ids = {1}, .max_new_tokens = 64}).status.ok());
}

TEST_F(GenerateTest, ReturnsLogprobsOfEveryKindAndTheyAgree) {
  const Outcome generated = engine().Generate({.session_id = "logprobs",
                                               .input_ids = {3, 1, 4, 1, 5},
                                               .max_new_tokens = 150,
                                               .ignore_eos = true,
                                               .create_if_missing = true,
                                               .top_logprobs = 3});
  ASSERT_EQ(generated.logprobs.size(), 150);
  EXPECT_EQ(generated.logprobs[0].alternatives.size(), 3);
  EXPECT_GE(generated.logprobs[0].alternatives[0].logprob,
            generated.logprobs[0].alternatives[1].logprob);
  // The same tokens as input: decode and prefill give the same bits.
  const Outcome forced = engine().Generate(
      {.input_ids = *engine().Read("logprobs"), .max_new_tokens = 0, .prompt_logprobs = true});
  ASSERT_EQ(forced.prompt_logprobs.size(), 155);
  EXPECT_EQ(forced.prompt_logprobs[0].logprob, 0);
  for (int i = 0; i < 150; ++i) {
    ASSERT_EQ(forced.prompt_logprobs[5 + i].id, generated.ids[i]);
    ASSERT_EQ(forced.prompt_logprobs[5 + i].logprob, generated.logprobs[i].logprob) << i;
  }
  // On a session that has a past, the first input token is predicted by it.
  ASSERT_TRUE(engine().Generate(OnSession("past", {3, 1, 4}, 0)).status.ok());
  const Outcome rest = engine().Generate(
      {.session_id = "past", .input_ids = {1, 5}, .max_new_tokens = 1, .prompt_logprobs = true});
  ASSERT_EQ(rest.prompt_logprobs.size(), 2);
  EXPECT_EQ(rest.prompt_logprobs[0].logprob, forced.prompt_logprobs[3].logprob);
  EXPECT_EQ(rest.prompt_logprobs[1].logprob, forced.prompt_logprobs[4].logprob);
  EXPECT_EQ(rest.ids.size(), 1);
}

TEST_F(GenerateTest, TheSeedIsTheCallsElseTheSessions) {
  ASSERT_TRUE(engine().Create({.session_id = "seeded", .sampling = {.seed = 77}}).ok());
  EXPECT_EQ(engine().Generate(OnSession("seeded", {1}, 1)).started.seed, 77);
  GenerateRequest request = OnSession("seeded", {1}, 1);
  request.sampling.seed = 5;
  EXPECT_EQ(engine().Generate(request).started.seed, 5);
  EXPECT_EQ(engine().Get("seeded")->sampling.seed, 77);
  const Outcome one =
      engine().Generate({.input_ids = {1}, .max_new_tokens = 20, .ignore_eos = true});
  GenerateRequest again = {.input_ids = {1}, .max_new_tokens = 20, .ignore_eos = true};
  again.sampling.seed = one.started.seed;
  EXPECT_EQ(engine().Generate(again).ids, one.ids);
}

TEST_F(GenerateTest, RemembersTheLastCall) {
  GenerateRequest request = OnSession("last", {1, 2}, 3);
  request.request_id = "turn-1";
  ASSERT_TRUE(engine().Generate(request).status.ok());
  const auto info = engine().Get("last");
  EXPECT_EQ(info->last_request_id, "turn-1");
  EXPECT_EQ(info->last_base_length, 0);
  EXPECT_EQ(info->last_finish_reason, FinishReason::kMaxNewTokens);
  EXPECT_EQ(info->length, 5);
  EXPECT_EQ(info->cached_tokens, 4);
}

TEST_F(GenerateTest, RefusesWhatTheTableSays) {
  using absl::StatusCode;
  const auto status = [&](GenerateRequest r) { return engine().Generate(std::move(r)).status; };
  const float inf = std::numeric_limits<float>::infinity();
  ExpectError(status({.session_id = "absent", .input_ids = {1}}), StatusCode::kNotFound,
              "SESSION_NOT_FOUND", "absent");
  ExpectError(status({}), StatusCode::kInvalidArgument, "INVALID_FIELD", "input_ids");
  ExpectError(status({.input_ids = {1, 331}}), StatusCode::kInvalidArgument, "INVALID_FIELD",
              "input_ids[1]: 331 is not below vocab_size 331");
  ExpectError(status({.input_ids = {1}, .stop_token_ids = {999}}), StatusCode::kInvalidArgument,
              "INVALID_FIELD", "stop_token_ids[0]");
  ExpectError(status({.input_ids = {1}, .sampling = {.temperature = inf}}),
              StatusCode::kInvalidArgument, "INVALID_FIELD", "sampling.temperature");
  ExpectError(status({.input_ids = {1}, .top_logprobs = 21}), StatusCode::kInvalidArgument,
              "INVALID_FIELD", "top_logprobs: 21 is over 20");
  ExpectError(status({.input_ids = {1}, .request_id = std::string(129, 'x')}),
              StatusCode::kInvalidArgument, "INVALID_FIELD", "request_id");
  for (const std::string& id : {std::string("a/b"), std::string(129, 'a'), std::string("a b")}) {
    ExpectError(status({.session_id = id, .input_ids = {1}, .create_if_missing = true}),
                StatusCode::kInvalidArgument, "INVALID_FIELD", "session_id");
  }
  ASSERT_TRUE(engine().Create({.session_id = "expects", .initial_ids = {1, 2}}).ok());
  const absl::Status mismatch =
      status({.session_id = "expects", .input_ids = {1}, .expected_length = 3});
  ExpectError(mismatch, StatusCode::kAborted, "LENGTH_MISMATCH", "expected_length: 3");
  EXPECT_EQ(DetailOf(mismatch).metadata.at("session_length"), "2");
  EXPECT_EQ(engine().Get("expects")->length, 2);
  EXPECT_TRUE(
      status({.session_id = "expects", .input_ids = {1}, .max_new_tokens = 1, .expected_length = 2})
          .ok());
}

TEST_F(GenerateTest, OneCallAtATimeOnASession) {
  const auto running = std::make_shared<Recorder>();
  running->room = false;  // it runs until it is cancelled
  engine().Start(OnSession("busy", {1, 2}, 50), running);
  ExpectError(engine().Generate(OnSession("busy", {1}, 1)).status, absl::StatusCode::kAborted,
              "SESSION_BUSY", "busy");
  ExpectError(engine().Truncate("busy", 0).status(), absl::StatusCode::kAborted, "SESSION_BUSY",
              "busy");
  EXPECT_TRUE(engine().Get("busy")->busy);
  // A fork of what is committed is allowed meanwhile.
  ASSERT_TRUE(engine().Fork("busy", "busy-fork").ok());
  EXPECT_TRUE(engine().Delete("busy").ok());
  EXPECT_EQ(running->Wait().status.code(), absl::StatusCode::kCancelled);
  ExpectError(engine().Get("busy").status(), absl::StatusCode::kNotFound, "SESSION_NOT_FOUND",
              "busy");
}

TEST_F(GenerateTest, ASlowReaderPausesOnlyItself) {
  const auto slow = std::make_shared<Recorder>();
  GenerateRequest request = OnSession("slow", {1, 2}, 50);
  slow->room = false;
  engine().Start(request, slow);
  EXPECT_EQ(engine().Generate(OnSession("quick", {1, 2}, 50)).ids.size(), 50);
  EXPECT_TRUE(engine().Get("slow")->busy);
  EXPECT_LE(engine().Get("slow")->length, 3);
  slow->room = true;
  engine().Resume(slow);
  EXPECT_EQ(slow->Wait().ids.size(), 50);
}

TEST_F(GenerateTest, AFullQueueSaysWhenToTryAgain) {
  EngineOptions options = RandomModel::Options();
  options.max_running = 1;
  options.max_queue = 1;
  SyncEngine small(options);
  // A call whose reader is slow would not count: this one takes a millisecond for each token.
  const auto first = std::make_shared<Recorder>(
      [](size_t) { std::this_thread::sleep_for(std::chrono::milliseconds(1)); });
  small.Start({.input_ids = {1}, .max_new_tokens = 8000, .ignore_eos = true}, first);
  while (small.Stats().running == 0) {
  }
  const auto second = small.Start({.input_ids = {1}, .max_new_tokens = 1});
  const absl::Status full = small.Generate({.input_ids = {1}, .max_new_tokens = 1}).status;
  ExpectError(full, absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "1 calls wait");
  EXPECT_TRUE(DetailOf(full).retry_after.has_value());
  small.Cancel(first);
  EXPECT_TRUE(second->Wait().status.ok());
}

TEST_F(GenerateTest, AReaderThatTakesNothingIsCut) {
  EngineOptions options = RandomModel::Options();
  options.stall_timeout = absl::Seconds(1);
  SyncEngine own(options);
  const auto stuck = std::make_shared<Recorder>();
  stuck->room = false;
  own.Start(OnSession("stuck", {1, 2, 3}, 100), stuck);
  const Outcome& outcome = stuck->Wait();
  EXPECT_TRUE(absl::IsDeadlineExceeded(outcome.status)) << outcome.status;
  EXPECT_THAT(std::string(outcome.status.message()), HasSubstr("--stall-timeout"));
  EXPECT_TRUE(absl::IsNotFound(own.Get("stuck").status()));  // it had brought nothing into being

  // Slow is not stuck.
  const auto slow = std::make_shared<Recorder>();
  slow->room = false;
  own.Start(OnSession("slow", {1, 2, 3}, 30), slow);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  slow->room = true;
  own.Resume(slow);
  EXPECT_EQ(slow->Wait().ids.size(), 30);
}

TEST_F(GenerateTest, SessionsAreCreatedListedForkedAndCut) {
  SyncEngine own(RandomModel::Options());
  const auto created = own.Create({.initial_ids = {1, 2, 3}, .labels = {{"team", "red"}}});
  ASSERT_TRUE(created.ok());
  EXPECT_THAT(created->session_id, SizeIs(32));
  EXPECT_EQ(created->length, 3);
  EXPECT_TRUE(created->sampling.seed.has_value());
  ExpectError(own.Create({.session_id = created->session_id}).status(),
              absl::StatusCode::kAlreadyExists, "SESSION_EXISTS", "exists");
  ExpectError(own.Create({.session_id = "x", .ttl = absl::ZeroDuration()}).status(),
              absl::StatusCode::kInvalidArgument, "INVALID_FIELD", "ttl");
  ExpectError(own.Create({.session_id = "x", .initial_ids = {500}}).status(),
              absl::StatusCode::kInvalidArgument, "INVALID_FIELD", "initial_ids[0]");

  const auto fork = own.Fork(created->session_id, "fork", 2);
  ASSERT_TRUE(fork.ok());
  EXPECT_EQ(fork->length, 2);
  EXPECT_EQ(fork->parent_session_id, created->session_id);
  EXPECT_EQ(fork->sampling.seed, created->sampling.seed);
  ExpectError(own.Fork("fork", "far", 3).status(), absl::StatusCode::kOutOfRange,
              "CONTEXT_EXCEEDED", "length: 3");
  ExpectError(own.Fork("fork", "fork").status(), absl::StatusCode::kAlreadyExists, "SESSION_EXISTS",
              "fork");
  ExpectError(own.Truncate("fork", 5).status(), absl::StatusCode::kOutOfRange, "CONTEXT_EXCEEDED",
              "length: 5");
  ExpectError(own.Truncate("fork", 1, 7).status(), absl::StatusCode::kAborted, "LENGTH_MISMATCH",
              "7");
  EXPECT_EQ(own.Truncate("fork", 1, 2)->length, 1);
  EXPECT_THAT(*own.Read("fork"), ElementsAre(1));
  ExpectError(own.Read("fork", 2).status(), absl::StatusCode::kOutOfRange, "CONTEXT_EXCEEDED",
              "offset: 2");

  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(own.Create({.session_id = "list-" + std::to_string(i),
                            .labels = {{"odd", i % 2 ? "1" : "0"}}})
                    .ok());
  }
  const auto page = own.List({.page_size = 2, .labels = {{"odd", "0"}}});
  ASSERT_THAT(page->sessions, SizeIs(2));
  EXPECT_EQ(page->sessions[1].session_id, "list-2");
  const auto last =
      own.List({.page_size = 2, .page_token = page->next_page_token, .labels = {{"odd", "0"}}});
  ASSERT_THAT(last->sessions, SizeIs(1));
  EXPECT_EQ(last->sessions[0].session_id, "list-4");
  EXPECT_EQ(last->next_page_token, "");
  ExpectError(own.List({.page_size = 1001}).status(), absl::StatusCode::kInvalidArgument,
              "INVALID_FIELD", "page_size");
  ExpectError(own.List({.page_token = "?"}).status(), absl::StatusCode::kInvalidArgument,
              "INVALID_FIELD", "page_token");
}

TEST_F(GenerateTest, IdleSessionsExpire) {
  ASSERT_TRUE(engine().Create({.session_id = "brief", .ttl = absl::Milliseconds(30)}).ok());
  EXPECT_TRUE(engine().Get("brief")->expire_time.has_value());
  for (int i = 0; i < 500 && engine().Get("brief").ok(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(engine().Get("brief").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(GenerateTest, ForkingCostsNoBlockAndSpeakingAtMostOne) {
  SyncEngine own(RandomModel::Options());
  ASSERT_TRUE(own.Generate(OnSession("source", std::vector(100, 7), 1)).status.ok());
  const int64_t before = own.Stats().kv_blocks_used;
  ASSERT_TRUE(own.Fork("source", "fork").ok());
  EXPECT_EQ(own.Stats().kv_blocks_used, before);
  ASSERT_TRUE(own.Generate(OnSession("fork", {}, 1)).status.ok());
  EXPECT_LE(own.Stats().kv_blocks_used, before + 1);
}

}  // namespace
}  // namespace kvasir
