// The engine on an emulated GPU, as the emulator sees it: how work is launched, what is allocated,
// which blocks of the pool are touched. KVASIR_TEST_GPU_PLUGIN names its library.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/backend/cuda/emulated_gpu.h"
#include "tests/engine/engine_harness.h"
#include "tests/engine/random_model.h"

namespace kvasir {
namespace {

using testing::DifferenceOf;
using testing::Outcome;
using testing::RandomModel;
using testing::SyncEngine;

simt::Statistics Emulated() { return EmulatedStatistics(std::getenv("KVASIR_TEST_GPU_PLUGIN")); }

std::vector<int> RandomIds(std::mt19937& random, int count) {
  std::vector<int> ids(count);
  for (int& id : ids) id = static_cast<int>(random() % RandomModel::kEos);
  return ids;
}

GenerateRequest Ask(const std::string& id, std::vector<int> input, uint32_t count) {
  return {.session_id = id,
          .input_ids = std::move(input),
          .max_new_tokens = count,
          .sampling = {.temperature = 0.9f, .seed = 7},
          .ignore_eos = true,
          .create_if_missing = true,
          .top_logprobs = 2};
}

// One launch of a graph and one that draws, whatever the number of layers.
TEST(EmulatedEngine, ADecodeStepIsOneGraphLaunch) {
  SyncEngine engine(RandomModel::Options());
  ASSERT_TRUE(engine.Generate(Ask("a", {1, 2, 3}, 1)).status.ok());  // one step
  const EngineStats steps_before = engine.Stats();
  const simt::Statistics before = Emulated();
  ASSERT_EQ(engine.Generate(Ask("a", {}, 20)).ids.size(), 20);
  EXPECT_EQ(engine.Stats().steps - steps_before.steps, 20);
  const simt::Statistics after = Emulated();
  EXPECT_EQ(after.graph_launches - before.graph_launches, 20);
  EXPECT_EQ(after.single_launches - before.single_launches, 20);
}

TEST(EmulatedEngine, DecodingTogetherIsOneGraphLaunchAStep) {
  constexpr uint64_t kCalls = 5;
  SyncEngine engine(RandomModel::Options());
  const simt::Statistics before = Emulated();
  std::vector<std::shared_ptr<testing::Recorder>> calls;
  for (uint64_t i = 0; i < kCalls; ++i) {
    calls.push_back(engine.Start(Ask("s" + std::to_string(i), {1, 2, 3}, 20)));
  }
  for (const auto& call : calls) ASSERT_EQ(call->Wait().ids.size(), 20);
  // Each call has one step with its prompt, at most.
  const uint64_t steps = engine.Stats().steps;
  EXPECT_GE(Emulated().graph_launches - before.graph_launches, steps - kCalls);
}

// Calls of every kind, in a pool that they outgrow, with the host's memory behind it.
TEST(EmulatedEngine, NothingIsAllocatedAfterStartUp) {
  EngineOptions options = RandomModel::Options({.kv_tokens = 240});
  options.kv_host_memory = RandomModel::KvBytes({}, 480);
  SyncEngine engine(options);
  const simt::Statistics before = Emulated();
  EXPECT_GT(before.device_bytes, 0);
  EXPECT_GT(before.pinned_bytes, 0);
  std::mt19937 random(1);
  for (int turn = 0; turn < 2; ++turn) {
    for (int s = 0; s < 4; ++s) {
      GenerateRequest request = Ask("s" + std::to_string(s), RandomIds(random, 70), 3);
      if (s == 1) request.sampling.presence_penalty = 1;
      if (s == 2) request.prompt_logprobs = true;
      if (s == 3) {  // more than there is room for on the device
        for (int i = 0; i < 20000; ++i) request.sampling.logit_bias.emplace_back(7, 0.1f);
      }
      ASSERT_TRUE(engine.Generate(std::move(request)).status.ok());
    }
  }
  ASSERT_TRUE(engine.Fork("s0", "fork", 100).ok());
  ASSERT_TRUE(engine.Truncate("s1", 40).ok());
  std::vector<std::shared_ptr<testing::Recorder>> calls;
  for (const char* id : {"fork", "s1", "s2"}) calls.push_back(engine.Start(Ask(id, {5}, 8)));
  for (const auto& call : calls) EXPECT_TRUE(call->Wait().status.ok());
  EXPECT_GT(engine.Stats().saved_blocks, 0) << "the test did not test";
  EXPECT_GT(engine.Stats().restored_blocks, 0) << "the test did not test";
  const simt::Statistics after = Emulated();
  EXPECT_GT(after.launches, before.launches);
  EXPECT_EQ(after.allocations, before.allocations);
  EXPECT_EQ(after.device_bytes, before.device_bytes);
  EXPECT_EQ(after.pinned_bytes, before.pinned_bytes);
}

// Sessions that take each other's blocks, are forked, cut and go on. Under AddressSanitizer a step
// that touches a block of no sequence of its own ends the test (emulated_plugin.cc).
TEST(EmulatedEngine, BlocksThatChangeHandsDisturbNobody) {
  SyncEngine roomy(RandomModel::Options({.kv_tokens = 4000}));
  SyncEngine tight(RandomModel::Options({.kv_tokens = 160}));
  std::mt19937 random(2);
  const auto both = [&](const GenerateRequest& request) {
    const Outcome expected = roomy.Generate(request);
    ASSERT_TRUE(expected.status.ok()) << expected.status;
    EXPECT_EQ(DifferenceOf(expected.logprobs, tight.Generate(request).logprobs), "");
  };
  for (int turn = 0; turn < 2; ++turn) {
    for (const char* id : {"a", "b", "c"}) both(Ask(id, RandomIds(random, 17 + 30 * turn), 4));
    const std::string fork = "fork" + std::to_string(turn);
    for (SyncEngine* engine : {&roomy, &tight}) {
      ASSERT_TRUE(engine->Fork("a", fork, 9).ok());
      ASSERT_TRUE(engine->Truncate("b", 6).ok());
    }
    both(Ask(fork, RandomIds(random, 3), 3));
    both(Ask("b", RandomIds(random, 2), 3));
  }
  EXPECT_GT(tight.Stats().evicted_blocks, 0) << "the test did not test";
  // Together, so that those that do not fit give way.
  std::vector<GenerateRequest> requests;
  std::vector<std::shared_ptr<testing::Recorder>> calls;
  for (int i = 0; i < 4; ++i) {
    requests.push_back(Ask("t" + std::to_string(i), RandomIds(random, 35), 14));
    calls.push_back(tight.Start(requests.back()));
  }
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(DifferenceOf(roomy.Generate(requests[i]).logprobs, calls[i]->Wait().logprobs), "");
  }
}

}  // namespace
}  // namespace kvasir
