// Steps that are enqueued while the one before still runs: on a backend that can, and the same
// results everywhere.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/engine/engine_harness.h"
#include "tests/engine/random_model.h"

namespace kvasir::testing {
namespace {

class RunAheadTest : public ::testing::Test {
 protected:
  uint64_t StepsAhead() { return engine_.Stats().steps_ahead; }

  static GenerateRequest Ask(const std::string& id, std::vector<int> input, uint32_t count) {
    return {.session_id = id,
            .input_ids = std::move(input),
            .max_new_tokens = count,
            .ignore_eos = true,
            .create_if_missing = true};
  }

  SyncEngine engine_{RandomModel::Options()};
};

TEST_F(RunAheadTest, EveryStepButTheFirstIsEnqueuedBeforeTheOneBeforeIsDone) {
  const Outcome outcome = engine_.Generate(Ask("a", {1, 2, 3}, 20));
  ASSERT_EQ(outcome.ids.size(), 20);
  const EngineStats stats = engine_.Stats();
  EXPECT_EQ(stats.steps, 20);
  EXPECT_EQ(stats.steps_ahead, RandomModel::OnGpu() ? 19 : 0);
}

TEST_F(RunAheadTest, GivesWhatSingleStepsGive) {
  GenerateRequest request = Ask("whole", {5, 6, 7, 8}, 24);
  request.top_logprobs = 2;
  request.sampling.seed = 3;
  const Outcome whole = engine_.Generate(request);
  ASSERT_EQ(whole.ids.size(), 24);

  const uint64_t before = StepsAhead();
  std::vector<TokenLogprob> single;
  request.session_id = "single";
  request.max_new_tokens = 1;  // the step that would follow has nothing to do
  for (int i = 0; i < 24; ++i) {
    const Outcome one = engine_.Generate(request);
    ASSERT_EQ(one.logprobs.size(), 1);
    single.push_back(one.logprobs[0]);
    request.input_ids.clear();
  }
  EXPECT_EQ(StepsAhead(), before);
  EXPECT_EQ(DifferenceOf(whole.logprobs, single), "");
}

// A token that ends a call is known only when the next step is on its way: that step's draw is
// nobody's, and its K and V are the session's all the same.
TEST_F(RunAheadTest, AStopTokenInTheMiddleLeavesNothingBehind) {
  GenerateRequest request = Ask("long", {9, 8, 7}, 24);
  request.sampling.seed = 11;
  const Outcome whole = engine_.Generate(request);
  ASSERT_EQ(whole.ids.size(), 24);
  size_t at = 5;  // of a token that has not come before
  while (std::count(whole.ids.begin(), whole.ids.begin() + static_cast<ptrdiff_t>(at),
                    whole.ids[at]) > 0) {
    ++at;
  }

  request.session_id = "cut";
  request.stop_token_ids = {whole.ids[at]};
  const Outcome cut = engine_.Generate(request);
  EXPECT_EQ(cut.complete.finish_reason, FinishReason::kStopToken);
  EXPECT_THAT(cut.ids, ::testing::ElementsAreArray(whole.ids.data(), at + 1));
  EXPECT_EQ(engine_.Get("cut")->length, 3 + at + 1);
  EXPECT_LE(engine_.Get("cut")->cached_tokens, 3 + at + 1);
  EXPECT_EQ(*engine_.Read("cut", 3), cut.ids);

  request.input_ids.clear();
  request.stop_token_ids.clear();
  request.max_new_tokens = static_cast<uint32_t>(23 - at);
  const Outcome rest = engine_.Generate(request);
  EXPECT_THAT(rest.ids, ::testing::ElementsAreArray(whole.ids.data() + at + 1, 23 - at));
}

TEST_F(RunAheadTest, PenaltiesWaitForTheTokenThatTheyCount) {
  GenerateRequest request = Ask("whole", {5, 6, 7, 8}, 16);
  request.sampling.seed = 3;
  request.sampling.presence_penalty = 4;
  request.sampling.repetition_penalty = 1.5;
  const Outcome whole = engine_.Generate(request);
  EXPECT_EQ(StepsAhead(), 0);
  request.session_id = "single";
  request.max_new_tokens = 1;
  for (int id : whole.ids) {
    EXPECT_THAT(engine_.Generate(request).ids, ::testing::ElementsAre(id));
    request.input_ids.clear();
  }
}

TEST_F(RunAheadTest, CallsThatJoinAndLeaveDisturbNobody) {
  std::vector<Outcome> alone;
  for (int i = 0; i < 5; ++i) {
    const auto count = static_cast<uint32_t>(6 + 5 * i);
    alone.push_back(engine_.Generate(Ask("", std::vector<int>(1 + 20 * i, 30 + i), count)));
  }
  std::vector<std::shared_ptr<Recorder>> together;
  for (int i = 0; i < 5; ++i) {
    const auto count = static_cast<uint32_t>(6 + 5 * i);
    GenerateRequest request = Ask("", std::vector<int>(1 + 20 * i, 30 + i), count);
    request.sampling.seed = alone[i].started.seed;
    request.prompt_logprobs = i == 3;
    together.push_back(engine_.Start(request));
  }
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(together[i]->Wait().ids, alone[i].ids) << i;
  }
  EXPECT_EQ(together[3]->Wait().prompt_logprobs.size(), 61);
  EXPECT_EQ(engine_.Stats().kv_blocks_used, 0);
}

}  // namespace
}  // namespace kvasir::testing
