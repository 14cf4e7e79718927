// A fork shares its origin's blocks, wherever sessions are kept.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/engine/stored/stored_engine.h"

namespace kvasir {
namespace {

using testing::DifferenceOf;
using testing::FreshAnswer;
using testing::Outcome;
using testing::RandomModel;
using testing::ReasonOf;
using testing::StoredEngine;
using testing::SyncEngine;
using testing::Turn;

std::vector<int> Ids(size_t count, int first) {
  std::vector<int> ids(count);
  for (size_t i = 0; i < count; ++i) ids[i] = static_cast<int>((first + 7 * i) % 330);
  return ids;
}

// With a store, and without.
class ForkTest : public ::testing::TestWithParam<bool> {
 protected:
  ForkTest() {
    if (GetParam()) {
      stored_ = std::make_unique<StoredEngine>();
      return;
    }
    EngineOptions options = RandomModel::Options();
    options.session_store.reset();
    plain_ = std::make_unique<SyncEngine>(options);
  }
  SyncEngine& engine() { return stored_ != nullptr ? **stored_ : *plain_; }
  int64_t BlocksUsed() { return engine().Stats().kv_blocks_used; }

  std::unique_ptr<StoredEngine> stored_;
  std::unique_ptr<SyncEngine> plain_;
};

TEST_P(ForkTest, CostsNoBlockUntilItSpeaks) {
  // The last block full, almost full, just begun.
  for (const size_t length : {3, 31, 32, 33, 100}) {
    SCOPED_TRACE(length);
    ASSERT_TRUE(engine().Create({.session_id = "s", .initial_ids = Ids(length, 5)}).ok());
    ASSERT_TRUE(engine().Generate(Turn("s", {}, 1)).status.ok());
    const int64_t before = BlocksUsed();
    EXPECT_GT(before, 0);
    constexpr int kForks = 5;
    for (int i = 0; i < kForks; ++i) {
      // Up to what is cached: the last token that was generated is not.
      ASSERT_TRUE(engine().Fork("s", "fork" + std::to_string(i), length).ok());
      EXPECT_EQ(BlocksUsed(), before);
    }
    for (int i = 0; i < kForks; ++i) {
      const Outcome spoken = engine().Generate(Turn("fork" + std::to_string(i), {9 + i}, 1));
      ASSERT_TRUE(spoken.status.ok()) << spoken.status;
      EXPECT_EQ(spoken.complete.cached_tokens, length);
      EXPECT_LE(BlocksUsed(), before + i + 1);
    }
    for (int i = 0; i < kForks; ++i) {
      ASSERT_TRUE(engine().Delete("fork" + std::to_string(i)).ok());
    }
    EXPECT_EQ(BlocksUsed(), before);
    ASSERT_TRUE(engine().Delete("s").ok());
    EXPECT_EQ(BlocksUsed(), 0);
  }
}

TEST_P(ForkTest, OneThatCannotBeMadeHoldsNothing) {
  ASSERT_TRUE(engine().Create({.session_id = "s", .initial_ids = Ids(50, 1)}).ok());
  ASSERT_TRUE(engine().Create({.session_id = "taken"}).ok());
  ASSERT_TRUE(engine().Generate(Turn("s", {}, 3)).status.ok());
  EXPECT_EQ(ReasonOf(engine().Fork("s", "taken").status()), "SESSION_EXISTS");
  EXPECT_EQ(ReasonOf(engine().Fork("s", "s").status()), "SESSION_EXISTS");
  EXPECT_EQ(engine().Fork("s", "long", 54).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(engine().Get("taken")->length, 0);
  ASSERT_TRUE(engine().Delete("s").ok());
  EXPECT_EQ(BlocksUsed(), 0);
}

TEST_P(ForkTest, GoesOnLikeItsOriginWhereverItBranches) {
  ASSERT_TRUE(engine()
                  .Create({.session_id = "s", .initial_ids = Ids(70, 3), .sampling = {.seed = 8}})
                  .ok());
  ASSERT_TRUE(engine().Generate(Turn("s", {4}, 9)).status.ok());
  const std::vector<int> content = *engine().Read("s");
  if (stored_ != nullptr) stored_->Restart();  // then it is in the store alone
  for (const size_t length : {size_t{0}, size_t{1}, size_t{33}, content.size()}) {
    SCOPED_TRACE(length);
    const std::string fork = "fork" + std::to_string(length);
    const auto made = engine().Fork("s", fork, length);
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_EQ(made->length, length);
    EXPECT_EQ(made->parent_session_id, "s");
    EXPECT_EQ(made->sampling.seed, 8);
    const std::vector<int> before(content.begin(), content.begin() + length);
    EXPECT_EQ(*engine().Read(fork), before);
    const Outcome spoken = engine().Generate(Turn(fork, {2, 7}, 6));
    const Outcome expected = FreshAnswer(engine(), before, {2, 7}, 6, 8);
    EXPECT_EQ(DifferenceOf(spoken.logprobs, expected.logprobs), "");
  }
  EXPECT_EQ(*engine().Read("s"), content);
}

INSTANTIATE_TEST_SUITE_P(Sessions, ForkTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Stored" : "InMemory"; });

}  // namespace
}  // namespace kvasir
