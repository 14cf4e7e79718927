// What the engine tells of itself: counters, the report of each call, whether its thread moves.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/engine/engine_harness.h"
#include "tests/engine/random_model.h"

namespace kvasir {
namespace {

using testing::Outcome;
using testing::RandomModel;
using testing::Recorder;
using testing::SyncEngine;

class ReportRecorder : public Recorder {
 public:
  using Recorder::Recorder;
  void OnReport(const GenerateReport& report) override { report_ = report; }
  // Nothing where none came. REQUIRES: Wait has returned.
  const std::optional<GenerateReport>& report() const { return report_; }

 private:
  std::optional<GenerateReport> report_;
};

std::vector<int> Ids(int first, int count) {
  std::vector<int> ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

GenerateRequest Ask(const std::string& session, std::vector<int> input, uint32_t tokens) {
  return {.session_id = session,
          .input_ids = std::move(input),
          .max_new_tokens = tokens,
          .ignore_eos = true,
          .create_if_missing = true};
}

// Waits for what comes at its own time; a failure where it does not.
template <typename Condition>
void Await(Condition condition) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    ASSERT_LT(std::chrono::steady_clock::now(), until);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

class StatisticsTest : public ::testing::Test {
 protected:
  RandomModel model_;
  SyncEngine engine_{model_.Options()};
};

TEST_F(StatisticsTest, ReportOfACallThatCompletes) {
  const auto recorder = std::make_shared<ReportRecorder>();
  engine_.Start(Ask("s", Ids(1, 20), 5), recorder);
  const Outcome& outcome = recorder->Wait();
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  ASSERT_TRUE(recorder->report());
  const GenerateReport& report = *recorder->report();
  EXPECT_EQ(report.prompt_tokens, 20);
  EXPECT_EQ(report.input_tokens, 20);
  EXPECT_EQ(report.cached_tokens, 0);
  EXPECT_EQ(report.computed_tokens, 24);
  EXPECT_EQ(report.generated_tokens, 5);
  EXPECT_EQ(report.finish_reason, FinishReason::kMaxNewTokens);
  const absl::Time times[] = {report.arrived,     report.opened,    report.admitted,
                              report.first_token, report.generated, report.settled};
  for (size_t i = 1; i < std::size(times); ++i) EXPECT_LE(times[i - 1], times[i]) << i;
  EXPECT_GT(report.arrived, absl::InfinitePast());
  EXPECT_EQ(report.admitted - report.arrived, outcome.complete.queued);
}

TEST_F(StatisticsTest, ReportOfACallThatIsCancelled) {
  std::shared_ptr<ReportRecorder> recorder;
  recorder = std::make_shared<ReportRecorder>([&](size_t tokens) {
    if (tokens == 3) engine_.Cancel(recorder);
  });
  engine_.Start(Ask("s", Ids(1, 20), 50), recorder);
  EXPECT_EQ(recorder->Wait().status.code(), absl::StatusCode::kCancelled);
  ASSERT_TRUE(recorder->report());
  EXPECT_GE(recorder->report()->generated_tokens, 3);
  EXPECT_LT(recorder->report()->generated_tokens, 50);
  EXPECT_FALSE(recorder->report()->finish_reason);
}

TEST_F(StatisticsTest, ACallWithoutASessionHasNoReport) {
  const auto recorder = std::make_shared<ReportRecorder>();
  engine_.Start({.session_id = "unknown", .input_ids = {1}}, recorder);
  EXPECT_EQ(recorder->Wait().status.code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(recorder->report());
}

TEST_F(StatisticsTest, TokensAreRecomputedWhereBlocksWereDropped) {
  engine_.Generate(Ask("s", Ids(1, 40), 5));
  EXPECT_EQ(engine_.Stats().recomputed_tokens, 0);
  EXPECT_EQ(engine_.Stats().prompt_tokens, 40);
  engine_.Generate(Ask("s", Ids(1, 3), 5));  // 44 of 45 are cached
  EXPECT_EQ(engine_.Stats().recomputed_tokens, 0);
  EXPECT_EQ(engine_.Stats().prompt_tokens, 40 + 48);

  engine_.DropIdleBlocks();
  engine_.Generate(Ask("s", {}, 1));  // 52 of 53 were computed before
  EXPECT_EQ(engine_.Stats().recomputed_tokens, 52);

  ASSERT_TRUE(engine_.Truncate("s", 10).ok());
  engine_.DropIdleBlocks();
  engine_.Generate(Ask("s", Ids(7, 30), 1));  // behind the first 10 all is new
  EXPECT_EQ(engine_.Stats().recomputed_tokens, 52 + 10);
}

TEST_F(StatisticsTest, PrefixesOfOtherSessionsAreQueriedAndHit) {
  engine_.Generate(Ask("a", Ids(1, 40), 1));
  EXPECT_EQ(engine_.Stats().prefix_queries, 39);  // the last token's logits are needed
  EXPECT_EQ(engine_.Stats().prefix_hits, 0);
  engine_.Generate(Ask("b", Ids(1, 40), 1));
  EXPECT_EQ(engine_.Stats().prefix_queries, 2 * 39);
  EXPECT_EQ(engine_.Stats().prefix_hits, 32);  // in whole blocks
  engine_.Generate(Ask("b", {}, 1));           // 40 of 41 are its own, and no other's question
  EXPECT_EQ(engine_.Stats().prefix_queries, 2 * 39);
  EXPECT_EQ(engine_.Stats().cached_tokens, 32 + 40);
}

TEST_F(StatisticsTest, BlocksOfRunningCallsAndOfNobody) {
  engine_.Generate(Ask("", Ids(100, 40), 1));  // leaves two full blocks
  EXPECT_EQ(engine_.Stats().kv_blocks_used, 0);
  Await([&] { return engine_.Stats().kv_usage.cached == 2; });
  EXPECT_EQ(engine_.Stats().kv_usage.running, 0);

  engine_.Generate(Ask("idle", Ids(1, 16), 1));
  std::shared_ptr<Recorder> slow;
  slow = std::make_shared<Recorder>([&](size_t tokens) {
    if (tokens == 20) slow->room = false;
  });
  engine_.Start(Ask("slow", Ids(200, 20), 30), slow);
  Await([&] { return engine_.Stats().stalled == 1; });
  Await([&] { return engine_.Stats().kv_usage.running == 3; });  // 39 tokens
  EXPECT_EQ(engine_.Stats().kv_blocks_used, 4);
  EXPECT_EQ(engine_.Stats().running, 1);
  slow->room = true;
  engine_.Resume(slow);
  slow->Wait();
  EXPECT_EQ(engine_.Stats().stalled, 0);
  Await([&] { return engine_.Stats().kv_usage.running == 0; });
}

TEST_F(StatisticsTest, ACallThatGaveUpItsBlocksIsPaused) {
  SyncEngine small(model_.Options({.kv_tokens = 160}));
  std::shared_ptr<Recorder> slow;
  slow = std::make_shared<Recorder>([&](size_t tokens) {
    if (tokens == 75) slow->room = false;  // it has 9 blocks of the 10
  });
  small.Start(Ask("", Ids(1, 60), 90), slow);
  Await([&] { return small.Stats().stalled == 1; });
  EXPECT_EQ(small.Stats().paused, 0);
  EXPECT_TRUE(small.Generate(Ask("", Ids(100, 60), 30)).status.ok());
  EXPECT_EQ(small.Stats().paused, 1);
  EXPECT_EQ(small.Stats().waiting, 1);
  EXPECT_EQ(small.Stats().paused_calls, 1);
  slow->room = true;
  small.Resume(slow);
  EXPECT_TRUE(slow->Wait().status.ok());
  EXPECT_EQ(small.Stats().paused, 0);
  EXPECT_GT(small.Stats().recomputed_tokens, 0);
}

TEST_F(StatisticsTest, AgeAndIdlenessOfSessions) {
  EXPECT_FALSE(engine_.Stats().least_recent_use);
  Outcome outcome = engine_.Generate(Ask("s", Ids(1, 20), 1));
  EXPECT_FALSE(outcome.started.session_age);
  EXPECT_FALSE(outcome.started.session_idle);
  const absl::Time used = *engine_.Stats().least_recent_use;
  EXPECT_LE(used, absl::Now());
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  outcome = engine_.Generate(Ask("s", {}, 1));
  EXPECT_GE(*outcome.started.session_idle, absl::Milliseconds(2));
  EXPECT_GE(*outcome.started.session_age, *outcome.started.session_idle);
  EXPECT_GT(*engine_.Stats().least_recent_use, used);
  EXPECT_FALSE(engine_.Generate(Ask("", Ids(1, 20), 1)).started.session_age);
}

TEST_F(StatisticsTest, AThreadThatHangsIsSilent) {
  Engine& engine = engine_.engine();
  engine.SilentFor();
  Await([&] { return engine.SilentFor() == absl::ZeroDuration(); });

  std::atomic<bool> hangs = true;
  const auto recorder = std::make_shared<Recorder>([&](size_t tokens) {
    while (tokens == 1 && hangs) std::this_thread::yield();
  });
  engine_.Start(Ask("s", Ids(1, 20), 2), recorder);
  Await([&] { return engine.SilentFor() >= absl::Milliseconds(50); });
  hangs = false;
  EXPECT_TRUE(recorder->Wait().status.ok());
  Await([&] { return engine.SilentFor() == absl::ZeroDuration(); });
}

TEST_F(StatisticsTest, StepsAreReportedByPhase) {
  int steps = 0, tokens = 0, sequences = 0;
  double host = 0;
  engine_.engine().set_step_observer([&](const StepReport& step) {
    ++steps;
    tokens += step.tokens;
    sequences += step.sequences;
    EXPECT_GT(step.forward_seconds, 0);
    EXPECT_GT(step.host_seconds, 0);
    host += step.host_seconds;
  });
  const auto begun = std::chrono::steady_clock::now();
  engine_.Generate(Ask("", Ids(1, 20), 4));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // idleness is no work
  engine_.Generate(Ask("", Ids(1, 20), 1));
  EXPECT_EQ(engine_.Stats().steps, 5);
  EXPECT_EQ(steps, 5);
  EXPECT_EQ(tokens, 23 + 20 - 16);
  EXPECT_EQ(sequences, 5);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  EXPECT_LT(host, took.count() - 0.02);
}

}  // namespace
}  // namespace kvasir
