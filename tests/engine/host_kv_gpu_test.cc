// K and V in the host's memory beside a GPU's pool: what is refused, what it changes (the work) and
// what not (any bit). For the GPU that KVASIR_TEST_GPU_PLUGIN names.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/check.h"
#include "tests/engine/engine_harness.h"
#include "tests/engine/random_model.h"

namespace kvasir {
namespace {

using testing::DifferenceOf;
using testing::Outcome;
using testing::RandomModel;
using testing::SyncEngine;

GenerateRequest Ask(const std::string& id, std::vector<int> input, uint32_t n) {
  return {.session_id = id,
          .input_ids = std::move(input),
          .max_new_tokens = n,
          .sampling = {.temperature = 0.9f, .seed = 7},
          .ignore_eos = true,
          .create_if_missing = true,
          .top_logprobs = 2};
}

std::vector<int> RandomIds(std::mt19937& random, int count) {
  std::vector<int> ids(count);
  for (int& id : ids) id = static_cast<int>(random() % RandomModel::kEos);
  return ids;
}

EngineOptions Options(int64_t kv_tokens, int64_t host_tokens) {
  KVASIR_CHECK(RandomModel::OnGpu());  // else all this tests nothing
  EngineOptions options = RandomModel::Options({.kv_tokens = kv_tokens});
  options.kv_host_memory = RandomModel::KvBytes({}, host_tokens);
  return options;
}

void ExpectRefused(const EngineOptions& options, absl::StatusCode code, const std::string& word) {
  const absl::Status status = Engine::Create(options).status();
  EXPECT_EQ(status.code(), code);
  EXPECT_NE(status.message().find("--kv-host-memory"), absl::string_view::npos) << status;
  EXPECT_NE(status.message().find(word), absl::string_view::npos) << status;
}

TEST(HostKvOnGpu, RefusesWhatCannotBe) {
  EngineOptions options = Options(1000, 1000);
  options.kv_host_memory = int64_t{1} << 60;
  ExpectRefused(options, absl::StatusCode::kResourceExhausted, "available");
  options.kv_host_memory = 1;
  ExpectRefused(options, absl::StatusCode::kInvalidArgument, "no block");
  options = Options(1000, 1000);
  options.share_prefixes = false;
  ExpectRefused(options, absl::StatusCode::kInvalidArgument, "share_prefixes");
  options.kv_host_memory.reset();
  EXPECT_EQ(SyncEngine(options).engine().model_info().kv_host_tokens, 0);
}

// Which of the two is cheaper here is nobody's business; that both were measured is.
TEST(HostKvOnGpu, MeasuresWhereItIsLeftOpen) {
  EngineOptions options = RandomModel::Options({.kv_tokens = 320});
  options.kv_host_memory.reset();
  options.max_step_tokens = 40;
  SyncEngine engine(options);
  EXPECT_NE(engine.engine().model_info().kv_host_reason.find("computed in"), std::string::npos);
  SyncEngine plain(Options(320, 0));
  EXPECT_EQ(plain.engine().model_info().kv_host_reason, "");
  const GenerateRequest request = Ask("a", std::vector<int>(40, 3), 4);
  EXPECT_EQ(DifferenceOf(plain.Generate(request).logprobs, engine.Generate(request).logprobs), "");
}

TEST(HostKvOnGpu, BringsBackExactlyWhatWasTaken) {
  SyncEngine engine(Options(/*kv_tokens=*/80, /*host_tokens=*/320));
  EXPECT_EQ(engine.engine().model_info().kv_host_tokens, 320);
  std::mt19937 random(1);
  // Four full blocks of a pool of five; the token that follows is not computed yet.
  ASSERT_TRUE(engine.Generate(Ask("a", RandomIds(random, 64), 1)).status.ok());
  EXPECT_EQ(engine.Stats().saved_blocks, 0);
  // All five: four full ones, and 15 tokens.
  ASSERT_TRUE(engine.Generate(Ask("b", RandomIds(random, 79), 1)).status.ok());
  EXPECT_EQ(engine.Stats().saved_blocks, 4);
  EXPECT_EQ(engine.Get("a")->cached_tokens, 0);

  const EngineStats before = engine.Stats();
  const Outcome back = engine.Generate(Ask("a", {}, 1));
  EXPECT_EQ(back.started.cached_tokens, 64);
  EXPECT_EQ(back.complete.cached_tokens, 64);
  EXPECT_EQ(back.complete.computed_tokens, 1);
  const EngineStats after = engine.Stats();
  EXPECT_EQ(after.restored_blocks, 4);
  EXPECT_EQ(after.saved_blocks, 8);
  EXPECT_EQ(after.computed_tokens - before.computed_tokens, 1);

  // Its 15 last tokens were in no full block.
  const Outcome other = engine.Generate(Ask("b", {}, 1));
  EXPECT_EQ(other.complete.cached_tokens, 64);
  EXPECT_EQ(other.complete.computed_tokens, 16);
  EXPECT_EQ(engine.Stats().restored_blocks, 8);
  EXPECT_EQ(engine.Stats().saved_blocks, 8) << "copies of a's blocks are still there";

  engine.DropIdleBlocks();  // and what is remembered of them, wherever it is
  EXPECT_EQ(engine.Generate(Ask("a", {}, 1)).complete.cached_tokens, 0);
}

// Ten times as many conversations as the pool holds, by turns.
TEST(HostKvOnGpu, ChangesTheWorkAndNoBit) {
  constexpr int kSessions = 10;
  constexpr int kTurns = 3;
  SyncEngine roomy(Options(4000, 0));
  SyncEngine without(Options(160, 0));
  SyncEngine with(Options(160, 3200));
  std::mt19937 random(2);
  for (int turn = 0; turn < kTurns; ++turn) {
    for (int s = 0; s < kSessions; ++s) {
      const GenerateRequest request =
          Ask("s" + std::to_string(s), RandomIds(random, turn == 0 ? 100 : 9), 8);
      const Outcome expected = roomy.Generate(request);
      ASSERT_TRUE(expected.status.ok()) << expected.status;
      EXPECT_EQ(DifferenceOf(expected.logprobs, without.Generate(request).logprobs), "");
      const Outcome outcome = with.Generate(request);
      EXPECT_EQ(DifferenceOf(expected.logprobs, outcome.logprobs), "");
      // All full blocks before the turn's input come back: of 107 tokens 96, of 124 112.
      const uint32_t kept[kTurns] = {0, 96, 112};
      EXPECT_EQ(outcome.complete.cached_tokens, kept[turn]);
    }
  }
  // A turn computes what is behind the cached tokens, all but the last new one: 107, 28 and 29.
  EXPECT_EQ(with.Stats().computed_tokens, kSessions * (107 + 28 + 29));
  // Of the last one, at most, blocks are left where another has the pool.
  EXPECT_GE(without.Stats().computed_tokens, 2 * with.Stats().computed_tokens);
  EXPECT_EQ(with.Stats().generated_tokens, without.Stats().generated_tokens);
}

// Running calls that outgrow the pool take turns; what a paused one had computed comes back.
TEST(HostKvOnGpu, PausedCallsComeBackExactly) {
  constexpr int kCalls = 4;
  SyncEngine plain(Options(4000, 0));
  SyncEngine tight(Options(160, 1600));
  std::mt19937 random(3);
  std::vector<GenerateRequest> requests;
  std::vector<std::shared_ptr<testing::Recorder>> running;
  for (int i = 0; i < kCalls; ++i) {
    requests.push_back(Ask("s" + std::to_string(i), RandomIds(random, 40), 60));
    running.push_back(tight.Start(requests.back()));
  }
  for (int i = 0; i < kCalls; ++i) {
    const Outcome& outcome = running[i]->Wait();
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(DifferenceOf(plain.Generate(requests[i]).logprobs, outcome.logprobs), "");
  }
  EXPECT_GT(tight.Stats().paused_calls, 0) << "the test did not test";
  EXPECT_GT(tight.Stats().restored_blocks, 0);
}

}  // namespace
}  // namespace kvasir
