#include "engine/backend/cuda/attention_plan.h"

#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace kvasir::cuda {
namespace {

constexpr size_t kPlenty = size_t{1} << 30;

// A sequence's rows of the step, after what is in the cache.
struct Sequence {
  int cached = 0;
  int tokens = 0;
};

Batch MakeBatch(const std::vector<Sequence>& sequences) {
  Batch batch;
  batch.Clear();
  for (const Sequence& s : sequences) {
    for (int i = 0; i < s.tokens; ++i) {
      batch.tokens.push_back(0);
      batch.positions.push_back(s.cached + i);
    }
    batch.query_start.push_back(batch.num_tokens());
    batch.context_length.push_back(s.cached + s.tokens);
  }
  return batch;
}

AttentionRoom RoomFor(const Batch& batch, const AttentionGrid& grid, size_t bytes = kPlenty) {
  int context = 1;
  for (const int length : batch.context_length) context = std::max(context, length);
  return RoomForAttention(grid, batch.num_tokens(), batch.num_sequences(), context, bytes);
}

AttentionPlan Plan(const Batch& batch, const AttentionGrid& grid, size_t bytes = kPlenty) {
  AttentionPlan plan;
  PlanAttention(batch, grid, RoomFor(batch, grid, bytes), plan);
  return plan;
}

// Each row meets each span of its context once; parts have states and tickets of their own; all is
// within the room.
void Check(const Batch& batch, const AttentionGrid& grid, const AttentionRoom& room,
           const AttentionPlan& plan) {
  std::set<std::pair<int, int>> met;  // (row, span)
  std::map<int, std::vector<const AttentionTile*>> by_ticket;
  for (const bool few : {true, false}) {
    for (const AttentionTile& tile : few ? plan.few : plan.many) {
      const int rows = tile.tokens * grid.group;
      EXPECT_GE(rows, 1);
      EXPECT_LE(rows, few ? kTileRows : 4 * kTileRows);
      EXPECT_GE(tile.first_token, batch.query_start[tile.sequence]);
      EXPECT_LE(tile.first_token + tile.tokens, batch.query_start[tile.sequence + 1]);
      for (int row = tile.first_token; row < tile.first_token + tile.tokens; ++row) {
        for (int span = tile.first_span; span < tile.first_span + tile.spans; ++span) {
          EXPECT_TRUE(met.emplace(row, span).second) << row << " " << span;
        }
      }
      if (tile.parts > 0) by_ticket[tile.ticket].push_back(&tile);
    }
  }
  for (int row = 0; row < batch.num_tokens(); ++row) {
    for (int span = 0; span * kSpanKeys <= batch.positions[row]; ++span) {
      EXPECT_EQ(met.count({row, span}), 1u) << row << " " << span;
    }
  }
  std::set<int> states;
  for (const auto& [ticket, tiles] : by_ticket) {
    EXPECT_GE(ticket, 0);
    EXPECT_LT(ticket, plan.tickets);
    std::set<int> parts;
    for (const AttentionTile* tile : tiles) {
      EXPECT_EQ(tile->parts, static_cast<int>(tiles.size()));
      EXPECT_EQ(tile->first_state, tiles[0]->first_state);
      EXPECT_EQ(tile->first_token, tiles[0]->first_token);
      EXPECT_EQ(tile->tokens, tiles[0]->tokens);
      EXPECT_EQ(tile->spans, 1);
      EXPECT_EQ(tile->part, tile->first_span);
      EXPECT_TRUE(parts.insert(tile->part).second);
      const int rows = tile->tokens * grid.group;
      for (int i = 0; i < rows; ++i) {
        const int state = tile->first_state + tile->part * rows + i;
        EXPECT_LT(state, plan.states);
        EXPECT_TRUE(states.insert(state).second);
      }
    }
  }
  EXPECT_LE(plan.states, room.states);
  EXPECT_LE(plan.tickets, room.tickets);
  EXPECT_LE(static_cast<int>(plan.few.size()), room.few_tiles);
  EXPECT_LE(static_cast<int>(plan.many.size()), room.many_tiles);
}

TEST(AttentionPlan, DecodeIsCutByItsSpans) {
  const Batch batch = MakeBatch({{1023, 1}, {1024, 1}, {0, 1}});
  const AttentionGrid grid = {4, 8, 128, 1, 1};
  const AttentionPlan plan = Plan(batch, grid);
  EXPECT_TRUE(plan.many.empty());
  ASSERT_EQ(plan.few.size(), 2u + 3u + 1u);
  EXPECT_EQ(plan.few[0].parts, 2);
  EXPECT_EQ(plan.few[2].parts, 3);
  EXPECT_EQ(plan.few[5].parts, 0);
  EXPECT_EQ(plan.states, 4 * (2 + 3));
  EXPECT_EQ(plan.tickets, 2);
}

TEST(AttentionPlan, PromptsAreCutOnlyWhereTilesAreFew) {
  const Batch batch = MakeBatch({{2000, 64}});  // 4 tiles of 16 tokens
  const AttentionPlan whole = Plan(batch, {4, 8, 128, 1, 32});
  EXPECT_EQ(whole.many.size(), 4u);
  EXPECT_EQ(whole.states, 0);
  const AttentionPlan cut = Plan(batch, {4, 8, 128, 1, 33});
  EXPECT_EQ(cut.many.size(), 5u + 4u + 4u + 4u);  // the last 16 of the tokens reach a fifth span
  EXPECT_EQ(cut.tickets, 4);
}

TEST(AttentionPlan, WithoutRoomForAllTheLongestAreCut) {
  const Batch batch = MakeBatch({{1500, 1}, {20000, 1}, {1500, 1}});  // 3, 40 and 3 spans
  const AttentionGrid grid = {4, 1, 16, 1, 1};
  const size_t state_bytes = sizeof(float) * (16 + kStateExtra);
  const AttentionPlan plan = Plan(batch, grid, 4 * 42 * state_bytes);
  ASSERT_EQ(plan.few.size(), 42u);
  EXPECT_EQ(plan.few[0].parts, 0);
  EXPECT_EQ(plan.few[1].parts, 40);
  EXPECT_EQ(plan.few[41].parts, 0);
  EXPECT_EQ(plan.few[41].spans, 3);
  EXPECT_EQ(Plan(batch, grid, 0).few.size(), 3u);
}

TEST(AttentionPlan, EveryPlanCoversEveryRowOnceWithinTheRoom) {
  std::mt19937 random(11);
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  for (int i = 0; i < 300; ++i) {
    std::vector<Sequence> sequences(1 + below(6));
    for (Sequence& s : sequences) {
      s.cached = below(2) ? below(3000) : 512 * below(4);
      s.tokens = below(2) ? 1 : below(150);  // none is no mistake
    }
    const Batch batch = MakeBatch(sequences);
    const AttentionGrid grid = {1 + below(kTileRows), 1 + below(8), 16, below(200), below(200)};
    const AttentionRoom room = RoomFor(batch, grid, below(3) ? kPlenty : below(100000));
    AttentionPlan plan;
    plan.Reserve(room);
    const AttentionTile* const few = plan.few.data();
    const AttentionTile* const many = plan.many.data();
    PlanAttention(batch, grid, room, plan);
    PlanAttention(batch, grid, room, plan);
    Check(batch, grid, room, plan);
    EXPECT_EQ(plan.few.data(), few);
    EXPECT_EQ(plan.many.data(), many);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(AttentionRoom, IsBoundedByBytes) {
  const AttentionGrid grid = {4, 8, 128, 264, 132};
  const AttentionRoom room = RoomForAttention(grid, 8192, 256, 262144, size_t{64} << 20);
  EXPECT_LE(room.partial_bytes(grid), size_t{64} << 20);
  EXPECT_GT(room.partial_bytes(grid), size_t{60} << 20);
  // A batch of 64 with 4,096 tokens each is cut.
  EXPECT_GE(room.states, 64 * 4 * 4096 / kSpanKeys);
  EXPECT_EQ(RoomForAttention(grid, 16, 1, 512, kPlenty).states, 16 * 4);
}

}  // namespace
}  // namespace kvasir::cuda
