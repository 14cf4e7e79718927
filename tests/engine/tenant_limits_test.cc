// What a tenant may keep.
#include <gtest/gtest.h>

#include <string>

#include "absl/time/clock.h"
#include "engine/error.h"
#include "engine/tenant_usage.h"
#include "tests/engine/engine_harness.h"
#include "tests/engine/random_model.h"

namespace kvasir::testing {
namespace {

EngineOptions Limited(int64_t sessions, int64_t tokens) {
  EngineOptions options = RandomModel::Options();
  options.tenant_limits = {sessions, tokens};
  return options;
}

void ExpectQuota(const absl::Status& status, const std::string& flag) {
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(DetailOf(status).reason, "QUOTA");
  EXPECT_NE(std::string(status.message()).find(flag), std::string::npos) << status;
  EXPECT_TRUE(DetailOf(status).retry_after.has_value());
}

GenerateRequest Ask(const std::string& id, std::vector<int> input, uint32_t count,
                    const std::string& tenant = "") {
  return {.session_id = id,
          .tenant = tenant,
          .input_ids = std::move(input),
          .max_new_tokens = count,
          .ignore_eos = true,
          .create_if_missing = true};
}

TEST(TenantLimits, CountSessionsHoweverTheyComeAndGo) {
  SyncEngine engine(Limited(3, 0));
  ASSERT_TRUE(engine.Create({.session_id = "a", .initial_ids = {1, 2}}).ok());
  ASSERT_TRUE(engine.Fork("a", "b").ok());
  ASSERT_TRUE(engine.Generate(Ask("c", {1}, 1)).status.ok());
  ExpectQuota(engine.Create({.session_id = "d"}).status(), "--max-sessions");
  ExpectQuota(engine.Fork("a", "d").status(), "--max-sessions");
  ExpectQuota(engine.Generate(Ask("d", {1}, 1)).status, "--max-sessions");
  EXPECT_TRUE(engine.Generate(Ask("c", {1}, 1)).status.ok());  // none more
  EXPECT_TRUE(engine.Generate(Ask("", {1}, 1)).status.ok());   // nothing is kept
  // Another tenant has its own.
  EXPECT_TRUE(engine.Create({.session_id = "e", .tenant = "other"}).ok());

  ASSERT_TRUE(engine.Delete("b").ok());
  EXPECT_TRUE(engine.Generate(Ask("d", {1}, 1)).status.ok());
  ExpectQuota(engine.Create({.session_id = "f"}).status(), "--max-sessions");
}

TEST(TenantLimits, CountTokensOfAllSessions) {
  SyncEngine engine(Limited(0, 20));
  ASSERT_TRUE(engine.Create({.session_id = "a", .initial_ids = {1, 2, 3, 4, 5, 6}}).ok());
  ASSERT_TRUE(engine.Generate(Ask("b", {1, 2}, 6)).status.ok());  // 14
  ExpectQuota(engine.Generate(Ask("b", {1, 2}, 5)).status, "--max-session-tokens");
  ASSERT_TRUE(engine.Generate(Ask("b", {1, 2}, 4)).status.ok());  // 20
  ExpectQuota(engine.Create({.session_id = "c", .initial_ids = {1}}).status(),
              "--max-session-tokens");
  ASSERT_TRUE(engine.Truncate("a", 2).ok());  // 16
  EXPECT_TRUE(engine.Create({.session_id = "c", .initial_ids = {1, 2, 3}}).ok());
  ASSERT_TRUE(engine.Delete("b").ok());  // 7
  EXPECT_TRUE(engine.Generate(Ask("c", {1}, 12)).status.ok());
}

TEST(TenantLimits, ARunningTurnCountsOnceWhateverExpiresMeanwhile) {
  SyncEngine engine(Limited(0, 20));
  ASSERT_TRUE(engine.Create({.session_id = "a", .initial_ids = {1}}).ok());
  std::promise<void> begun;
  const auto itself = std::make_shared<Recorder*>();
  const auto recorder = std::make_shared<Recorder>([&begun, itself](size_t tokens) {
    if (tokens > 1) return;
    (*itself)->room = false;
    begun.set_value();
  });
  *itself = recorder.get();
  engine.Start(Ask("a", {2, 3}, 6), recorder);
  begun.get_future().get();
  ASSERT_TRUE(
      engine.Create({.session_id = "b", .initial_ids = {1}, .ttl = absl::Milliseconds(5)}).ok());
  while (engine.Get("b").ok()) absl::SleepFor(absl::Milliseconds(1));
  recorder->room = true;
  engine.Resume(recorder);
  ASSERT_TRUE(recorder->Wait().status.ok());
  EXPECT_TRUE(engine.Create({.session_id = "c", .initial_ids = std::vector<int>(10, 1)}).ok());
  // 19, and with a store perhaps "b", until it is swept.
  ExpectQuota(engine.Create({.session_id = "d", .initial_ids = {1, 2}}).status(),
              "--max-session-tokens");
}

TEST(TenantLimits, ATurnWithoutANumberOfTokensEndsAtThem) {
  SyncEngine engine(Limited(0, 20));
  ASSERT_TRUE(engine.Create({.session_id = "a", .initial_ids = {1, 2, 3, 4}}).ok());
  GenerateRequest request = Ask("a", {5}, 0);
  request.max_new_tokens.reset();
  const Outcome outcome = engine.Generate(request);
  ExpectQuota(outcome.status, "--max-session-tokens");
  EXPECT_EQ(outcome.ids.size(), 15);
  EXPECT_EQ(engine.Get("a")->length, 20);
  EXPECT_EQ(engine.Get("a")->last_finish_reason, FinishReason::kInterrupted);
  ExpectQuota(engine.Generate(request).status, "--max-session-tokens");
  EXPECT_EQ(engine.Get("a")->length, 20);
}

TEST(TenantLimits, ARestartCountsWhatIsStored) {
  const EngineOptions options = Limited(2, 0);
  if (options.session_store == nullptr) return;  // run again with one
  {
    SyncEngine engine(options);
    ASSERT_TRUE(engine.Create({.session_id = "a"}).ok());
    ASSERT_TRUE(engine.Create({.session_id = "b"}).ok());
  }
  SyncEngine engine(options);
  (void)engine.Stats();  // the count is asked for before anything else
  ExpectQuota(engine.Create({.session_id = "c"}).status(), "--max-sessions");
}

// All is counted anew while sessions come and go.
TEST(TenantUsage, WhatIsAddedDuringACountIsInItOnce) {
  TenantUsage usage({.sessions = 10, .tokens = 100});
  const auto is = [&usage](int64_t sessions, int64_t tokens) {
    return usage.Check("t", 10 - sessions, 0).ok() && !usage.Check("t", 11 - sessions, 0).ok() &&
           usage.Room("t") == 100 - tokens;
  };
  usage.Add("t", "wrong", 7, 70);  // of what another replica has deleted
  ASSERT_TRUE(usage.BeginCount());
  EXPECT_FALSE(usage.BeginCount());  // nor does a second one double it
  usage.Count("t", 10);
  usage.Count("t", 20);
  usage.HaveCountedTo("m");
  usage.Add("t", "a", 1, 1);  // has been passed
  usage.Add("t", "z", 1, 2);  // will be counted
  usage.Count("t", 2);
  EXPECT_TRUE(is(9, 73));
  usage.EndCount();
  EXPECT_TRUE(is(4, 33));
  usage.Add("t", "a", -1, -1);
  EXPECT_TRUE(is(3, 32));
  ASSERT_TRUE(usage.BeginCount());
  usage.Count("t", 50);
  usage.GiveUpCount();
  EXPECT_TRUE(is(3, 32));
}

TEST(TenantLimits, ShareOfTheKvPool) {
  EngineOptions options = RandomModel::Options({.kv_tokens = 160});  // 10 blocks
  options.tenant_kv_share = 0.45;
  SyncEngine engine(options);
  // A session grows to the end of the share: 64 tokens, and one that needs no K and V.
  GenerateRequest endless = Ask("a", {1, 2}, 0, "team");
  endless.max_new_tokens.reset();
  const Outcome outcome = engine.Generate(endless);
  EXPECT_EQ(outcome.complete.finish_reason, FinishReason::kMaxContext) << outcome.status;
  EXPECT_EQ(outcome.complete.session_length, 65);
  const absl::Status refused = engine.Generate(Ask("b", std::vector(66, 1), 1, "team")).status;
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(DetailOf(refused).reason, "KV_TOO_SMALL");
  EXPECT_FALSE(DetailOf(refused).retry_after.has_value());
  EXPECT_NE(refused.message().find("a tenant may have 64 of the pool's (--max-kv-share)"),
            std::string::npos)
      << refused;

  // Others' sessions stay in the cache whatever one does within its share.
  ASSERT_TRUE(engine.Generate(Ask("guest", std::vector(60, 1), 1, "guest")).status.ok());
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(engine.Generate(Ask(std::to_string(i), std::vector(50, i), 4, "team")).status.ok());
  }
  const Outcome again = engine.Generate(Ask("guest", {}, 1, "guest"));
  EXPECT_EQ(again.started.cached_tokens, 60);
}

}  // namespace
}  // namespace kvasir::testing
