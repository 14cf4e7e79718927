// What storing costs, in counts: bytes, records, tokens computed again.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/engine/stored/stored_engine.h"

namespace kvasir {
namespace {

using testing::FirstTurn;
using testing::Outcome;
using testing::StoredEngine;
using testing::Turn;

// Of one turn at such a length, and of a truncation by a token after it.
struct Cost {
  uint64_t turn_bytes = 0, cut_bytes = 0;
};

Cost CostAt(StoredEngine& engine, size_t length) {
  const std::string id = std::to_string(length);
  EXPECT_TRUE(
      engine->Create({.session_id = id, .initial_ids = std::vector<int>(length, 300)}).ok());
  // The first ones fill a run of tokens: what merges with the last run is at most that long.
  Cost cost;
  for (int i = 0; i < 12; ++i) {
    const auto before = engine.store().counts();
    EXPECT_TRUE(engine->Generate(Turn(id, std::vector<int>(28, 300), 4)).status.ok());
    const auto between = engine.store().counts();
    const uint64_t now = engine->Get(id)->length;
    EXPECT_TRUE(engine->Truncate(id, now - 1).ok());
    const auto after = engine.store().counts();
    EXPECT_EQ(between.commits - before.commits, 1);
    EXPECT_EQ(after.commits - between.commits, 1);
    cost.turn_bytes = std::max(cost.turn_bytes, between.bytes_written - before.bytes_written);
    cost.cut_bytes = std::max(cost.cut_bytes, after.bytes_written - between.bytes_written);
  }
  return cost;
}

TEST(Costs, ATurnWritesAsMuchHoweverLongItsSessionIs) {
  StoredEngine engine;
  const Cost small = CostAt(engine, 300), large = CostAt(engine, 6000);
  // Varints of the length and the start of the run may take a byte more each.
  EXPECT_LE(large.turn_bytes, small.turn_bytes + 8);
  EXPECT_LE(large.cut_bytes, small.cut_bytes + 8);
  EXPECT_GT(small.turn_bytes, 32 * 2);  // 2 bytes a token
}

TEST(Costs, AReplyReadsNothingFromTheStoreWhileItIsThisReplicas) {
  StoredEngine engine;
  ASSERT_TRUE(engine->Generate(FirstTurn("s", std::vector<int>(500, 7), 2)).status.ok());
  const auto before = engine.store().counts();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(engine->Generate(Turn("s", {1}, 2)).status.ok());
    ASSERT_TRUE(engine->Read("s").ok());
    ASSERT_TRUE(engine->Get("s").ok());
  }
  const auto after = engine.store().counts();
  // A write looks at the record and at the last run.
  EXPECT_LE(after.records_read - before.records_read, 3 * 2);
  EXPECT_EQ(after.commits - before.commits, 3);
}

TEST(Costs, WhatIsToldOfASessionNeedsNoneOfItsTokens) {
  StoredEngine engine;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(
        engine
            ->Create({.session_id = std::to_string(i), .initial_ids = std::vector<int>(5000, 300)})
            .ok());
  }
  engine.Restart();
  const auto opened = engine.store().counts();
  EXPECT_EQ(engine->Get("1")->length, 5000);
  const auto described = engine.store().counts();
  EXPECT_EQ(described.records_read - opened.records_read, 1);
  EXPECT_EQ(engine->List({.page_size = 2})->sessions.size(), 2);
  EXPECT_LE(engine.store().counts().records_read - described.records_read, 2 + 1);
}

TEST(Costs, ARestartComputesASessionOnceAndReadsItOnce) {
  StoredEngine engine;
  constexpr size_t kLength = 4096;
  std::vector<int> ids(kLength);
  for (size_t i = 0; i < kLength; ++i) ids[i] = static_cast<int>(i % 330);
  ASSERT_TRUE(engine->Create({.session_id = "s", .initial_ids = ids}).ok());
  engine.Restart();
  const auto opened = engine.store().counts();
  const Outcome first = engine->Generate(Turn("s", {}, 1));
  ASSERT_TRUE(first.status.ok()) << first.status;
  EXPECT_EQ(first.complete.cached_tokens, 0);
  EXPECT_EQ(first.complete.computed_tokens, kLength);
  const auto restored = engine.store().counts();
  // The record and its runs, then the record and the last run for the write.
  EXPECT_LE(restored.records_read - opened.records_read, 1 + 1 + kLength / 256 + 2);
  const Outcome second = engine->Generate(Turn("s", {}, 1));
  EXPECT_EQ(second.complete.computed_tokens, 1);
  // A fork of it that nobody has spoken to computes nothing that is there.
  ASSERT_TRUE(engine->Fork("s", "fork").ok());
  EXPECT_EQ(engine->Generate(Turn("fork", {}, 1)).complete.computed_tokens, 1);
}

}  // namespace
}  // namespace kvasir
