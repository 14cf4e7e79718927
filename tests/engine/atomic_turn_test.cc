// Invariant I2: however a call ends, its session is what it was before, or input + S, with S a
// prefix of what an uninterrupted call would have generated, and what was received a prefix of S.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
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

bool IsPrefix(const std::vector<int>& prefix, const std::vector<int>& whole) {
  return prefix.size() <= whole.size() && std::equal(prefix.begin(), prefix.end(), whole.begin());
}

std::vector<int> Tail(const std::vector<int>& ids, size_t from) {
  return {ids.begin() + static_cast<ptrdiff_t>(from), ids.end()};
}

class AtomicTurnTest : public ::testing::Test {
 protected:
  // Checks the session against I2 and returns how many tokens of the turn stand in it.
  static size_t CheckTurn(SyncEngine& engine, const std::string& id, const std::vector<int>& before,
                          const std::vector<int>& input, const std::vector<int>& received,
                          const std::vector<int>& uninterrupted) {
    const auto info = engine.Get(id);
    EXPECT_TRUE(info.ok());
    EXPECT_FALSE(info->busy);
    const std::vector<int> now = *engine.Read(id);
    if (now == before) {
      EXPECT_TRUE(received.empty()) << "the client has what the session has not";
      return 0;
    }
    EXPECT_TRUE(IsPrefix(before, now));
    const std::vector<int> turn = Tail(now, before.size());
    EXPECT_TRUE(IsPrefix(input, turn));
    const std::vector<int> generated = Tail(turn, input.size());
    EXPECT_TRUE(IsPrefix(received, generated));
    EXPECT_TRUE(IsPrefix(generated, uninterrupted));
    return generated.size();
  }
};

TEST_F(AtomicTurnTest, CancelledAtRandomMomentsUnderLoad) {
  EngineOptions options = RandomModel::Options({.kv_tokens = 1500});
  options.max_step_tokens = 16;  // many moments before the first token
  SyncEngine engine(options);
  std::mt19937 random(41);
  const auto random_ids = [&](size_t n) {
    std::vector<int> ids(n);
    for (int& id : ids) id = static_cast<int>(random() % 331);
    return ids;
  };
  int whole = 0, part = 0, none = 0;
  const int rounds = RandomModel::OnGpu() ? 15 : 60;  // it may be an emulated one
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(round);
    struct Player {
      std::string id;
      std::vector<int> before, input, expected;
      std::shared_ptr<Recorder> recorder;
    };
    std::vector<Player> players(4);
    std::chrono::microseconds turn{0};  // how long one takes alone, on whatever this runs
    for (size_t i = 0; i < players.size(); ++i) {
      Player& p = players[i];
      p.id = "s" + std::to_string(i);
      if (round == 0) {
        ASSERT_TRUE(engine.Create({.session_id = p.id}).ok());
      }
      if (engine.Get(p.id)->length > 250) {
        ASSERT_TRUE(engine.Truncate(p.id, 20).ok());
      }
      p.before = *engine.Read(p.id);
      p.input = random_ids(1 + random() % 80);
      const std::string twin = p.id + "-twin";
      ASSERT_TRUE(engine.Fork(p.id, twin).ok());
      const auto begin = std::chrono::steady_clock::now();
      p.expected = engine
                       .Generate({.session_id = twin,
                                  .input_ids = p.input,
                                  .max_new_tokens = 30,
                                  .ignore_eos = true})
                       .ids;
      ASSERT_EQ(p.expected.size(), 30);
      turn = std::chrono::duration_cast<std::chrono::microseconds>(
          std::chrono::steady_clock::now() - begin);
      ASSERT_TRUE(engine.Delete(twin).ok());
    }
    for (Player& p : players) {
      p.recorder = engine.Start(
          {.session_id = p.id, .input_ids = p.input, .max_new_tokens = 30, .ignore_eos = true});
    }
    std::vector<std::thread> cancellers;
    for (Player& p : players) {
      // Before it has begun, on its way, or after its end.
      const int percent = static_cast<int>(random() % (random() % 2 == 0 ? 10 : 400));
      cancellers.emplace_back([&engine, &p, delay = turn * percent / 100] {
        std::this_thread::sleep_for(delay);
        engine.Cancel(p.recorder);
      });
    }
    for (std::thread& thread : cancellers) thread.join();
    for (Player& p : players) {
      const Outcome& outcome = p.recorder->Wait();
      const size_t kept = CheckTurn(engine, p.id, p.before, p.input, outcome.ids, p.expected);
      EXPECT_TRUE(outcome.status.ok() || outcome.status.code() == absl::StatusCode::kCancelled);
      if (outcome.status.ok()) {
        EXPECT_EQ(kept, 30);
      } else {
        EXPECT_EQ(engine.Get(p.id)->last_finish_reason, FinishReason::kInterrupted);
      }
      (kept == 30 ? whole : kept > 0 ? part : none) += 1;
    }
  }
  // Each kind of end was seen, or the test shows little.
  EXPECT_GT(part, 0);
  EXPECT_GT(none, 0);
  EXPECT_GT(whole + part, 0);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(engine.Delete("s" + std::to_string(i)).ok());
  EXPECT_EQ(engine.Stats().kv_blocks_used, 0);
}

TEST_F(AtomicTurnTest, CancelledFromWithinTheStream) {
  SyncEngine engine(RandomModel::Options());
  const std::vector<int> expected = engine
                                        .Generate({.input_ids = {1, 2},
                                                   .max_new_tokens = 40,
                                                   .sampling = {.seed = 5},
                                                   .ignore_eos = true})
                                        .ids;
  for (size_t cancel_at = 1; cancel_at < 12; ++cancel_at) {
    const std::string id = "c" + std::to_string(cancel_at);
    std::shared_ptr<Recorder> recorder;
    std::promise<void> reached;
    recorder = std::make_shared<Recorder>([&](size_t tokens) {
      if (tokens == cancel_at) reached.set_value();
    });
    ASSERT_TRUE(engine.Create({.session_id = id, .sampling = {.seed = 5}}).ok());
    engine.Start({.session_id = id, .input_ids = {1, 2}, .max_new_tokens = 40, .ignore_eos = true},
                 recorder);
    reached.get_future().get();
    engine.Cancel(recorder);
    const Outcome outcome = recorder->Wait();
    EXPECT_GE(CheckTurn(engine, id, {}, {1, 2}, outcome.ids, expected), cancel_at);
  }
}

TEST_F(AtomicTurnTest, AFailedCallThatCreatedItsSessionLeavesNone) {
  SyncEngine engine(RandomModel::Options());
  const auto blocker = std::make_shared<Recorder>();
  blocker->room = false;  // never gets to run
  engine.Start({.session_id = "new", .input_ids = {1}, .create_if_missing = true}, blocker);
  // Where sessions are stored, the store is asked for it first.
  while (!engine.Get("new").ok()) std::this_thread::yield();
  ASSERT_TRUE(engine.Get("new")->busy);
  EXPECT_EQ(engine.Get("new")->length, 0);
  engine.Cancel(blocker);
  EXPECT_EQ(blocker->Wait().status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(engine.Get("new").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(AtomicTurnTest, StoppingTheEngineEndsEveryCall) {
  std::vector<std::shared_ptr<Recorder>> running;
  {
    SyncEngine engine(RandomModel::Options());
    for (int i = 0; i < 5; ++i) {
      running.push_back(
          engine.Start({.input_ids = {1, 2}, .max_new_tokens = 4000, .ignore_eos = true}));
    }
  }
  for (const auto& recorder : running) {
    EXPECT_EQ(recorder->Wait().status.code(), absl::StatusCode::kCancelled);
  }
}

}  // namespace
}  // namespace kvasir
