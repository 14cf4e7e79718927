#include "engine/schedule/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "tests/engine/schedule/world.h"

namespace kvasir {
namespace {

using testing::World;

TEST(Scheduler, MixesDecodesWithChunksOfAPrompt) {
  World world(100, {.max_step_tokens = 32, .max_running = 8, .max_queue = 8},
              /*share_prefixes=*/false);
  Call& talker = world.Start(world.AddSession("talker", 0), 5, 50);
  world.Step();
  Call& reader = world.Start(world.AddSession("reader", 0), 100, 5);
  int read = 0, steps = 0, pauses = 0;
  while (reader.generated == 0) {
    ASSERT_TRUE(world.Step());
    ++steps;
    EXPECT_EQ(world.RowsOf(talker), 1);
    const int chunk = world.RowsOf(reader);
    pauses += chunk == 0;
    if (chunk > 0) {
      EXPECT_GE(chunk, std::min(StepPace::kLeastPromptRows, 100 - read));
    }
    EXPECT_LE(chunk, 31);
    read += chunk;
  }
  EXPECT_EQ(read, 100);
  EXPECT_LE(pauses, steps / StepPace::kPause + 2);
}

TEST(Scheduler, EvictsIdleSessionsBeforeAnyoneWaits) {
  World world(10, {.max_step_tokens = 512, .max_running = 8, .max_queue = 8},
              /*share_prefixes=*/false);
  Session& idle = world.AddSession("idle", 0);
  world.Start(idle, 100, 1);
  while (world.Step()) {
  }
  EXPECT_EQ(idle.blocks.size(), 7);
  Call& call = world.Start(world.AddSession("new", 0), 140, 2);
  world.Step();
  EXPECT_EQ(call.generated, 1);
  EXPECT_LT(idle.blocks.size(), 7);
  EXPECT_EQ(world.scheduler.preemptions(), 0);
}

TEST(Scheduler, PausesTheYoungestWhenThePoolIsOutgrown) {
  World world(8, {.max_step_tokens = 64, .max_running = 8, .max_queue = 8},
              /*share_prefixes=*/false);
  Session& old = world.AddSession("old", 0);
  Session& young = world.AddSession("young", 0);
  const uint64_t old_call = world.Start(old, 48, 70).id;
  const uint64_t young_call = world.Start(young, 48, 30).id;
  int steps = 0;
  while (world.Step()) ASSERT_LT(++steps, 1000);
  EXPECT_EQ(world.finished, (std::vector{old_call, young_call}));
  EXPECT_GE(world.scheduler.preemptions(), 1);
  EXPECT_EQ(old.committed, 118);
  EXPECT_EQ(young.committed, 78);
}

TEST(Scheduler, AStalledReaderLosesItsBlocksToAYoungerCall) {
  World world(8, {.max_step_tokens = 128, .max_running = 1, .max_queue = 8},
              /*share_prefixes=*/false);
  Call& stalled = world.Start(world.AddSession("stalled", 0), 100, 10);
  world.Step();
  world.SinkOf(stalled).room = false;
  const uint64_t other = world.Start(world.AddSession("other", 0), 100, 10).id;
  while (world.Step()) {
  }
  EXPECT_EQ(world.finished, (std::vector{other}));
  EXPECT_EQ(stalled.generated, 1);
  world.SinkOf(stalled).room = true;
  while (world.Step()) {
  }
  EXPECT_EQ(world.finished.size(), 2);
}

TEST(Scheduler, IsFirstComeFirstServed) {
  World world(100, {.max_step_tokens = 64, .max_running = 2, .max_queue = 100},
              /*share_prefixes=*/false);
  std::vector<uint64_t> ids;
  for (int i = 0; i < 10; ++i) {
    ids.push_back(world.Start(world.AddSession(std::to_string(i), 0), 20, 5).id);
  }
  while (world.Step()) {
  }
  EXPECT_EQ(world.finished, ids);
}

TEST(Scheduler, SlicesWhatOwesPromptLogprobs) {
  World world(100, {.max_step_tokens = 512, .max_running = 4, .max_queue = 8});
  Call& call = world.Start(world.AddSession("a", 0), 200, 1, 2, /*prompt_logprobs=*/true);
  world.Step();
  EXPECT_EQ(world.RowsOf(call), world.limits.max_logits());
}

// Its history costs no logits: only what the call brings.
TEST(Scheduler, ReadsTheHistoryOfWhatOwesPromptLogprobsAtOnce) {
  World world(100, {.max_step_tokens = 512, .max_running = 4, .max_queue = 8});
  Call& call = world.Start(world.AddSession("a", 300), 20, 2, 2, /*prompt_logprobs=*/true);
  world.Step();
  EXPECT_EQ(call.generated, 1);
}

// Sessions that a restart has left without blocks. Those that owe log-probabilities once took the
// rows of logits that the others need for their next tokens, and the step after had fewer than
// none.
TEST(Scheduler, WhatOwesPromptLogprobsLeavesEveryoneARowOfLogits) {
  for (unsigned order = 0; order < 16; ++order) {
    World world(400, {.max_step_tokens = 512, .max_running = 4, .max_queue = 8});
    for (int i = 0; i < 4; ++i) {
      world.Start(world.AddSession(std::to_string(i), 100), 90, 3, 2, (order >> i & 1) != 0);
    }
    int steps = 0;
    while (world.Step()) ASSERT_LT(++steps, 100);
    EXPECT_EQ(world.finished.size(), 4);
  }
}

// A prompt takes as many rows as leave the decoding calls their rhythm, once the pace is known.
TEST(Scheduler, PromptsDoNotHoldUpDecodes) {
  World world(400, {.max_step_tokens = 512, .max_running = 16, .max_queue = 16});
  std::vector<Call*> talkers;
  for (int i = 0; i < 8; ++i) {
    talkers.push_back(&world.Start(world.AddSession(std::to_string(i), 0), 5 + i, 500));
  }
  for (int i = 0; i < 20; ++i) world.Step();
  double before = world.now;
  world.Step();
  const double usual = world.now - before;
  Call& reader = world.Start(world.AddSession("reader", 0), 2000, 2, /*token=*/5);
  int steps = 0;
  while (reader.generated == 0) {
    before = world.now;
    ASSERT_TRUE(world.Step());
    EXPECT_LE(world.now - before, 2 * usual);
    for (Call* talker : talkers) EXPECT_EQ(world.RowsOf(*talker), 1);
    ASSERT_LT(++steps, 2000);
  }
  // 20 ms and 1 ms a row; a tenth less for finding the pace.
  const double rows = (StepPace::kStretch - 1) * (20 + 8) * (1 - 1.0 / StepPace::kPause);
  EXPECT_LT(steps, 2000 / (0.9 * rows));
}

TEST(Scheduler, APromptThatOthersHaveReadIsNotReadAgain) {
  World world(100, {.max_step_tokens = 512, .max_running = 8, .max_queue = 8});
  world.Start(world.AddSession("first", 0), 100, 1);
  world.Step();
  EXPECT_EQ(world.computed_rows, 100);
  // The last block is not full; the call's own last token is computed anyway.
  world.Start(world.AddSession("second", 0), 100, 1);
  world.Step();
  EXPECT_EQ(world.computed_rows, 104);
  world.StartOneShot(96, 1);
  world.Step();
  EXPECT_EQ(world.computed_rows, 104 + 16);
  // One that ended lives on as long as nobody needs its blocks.
  world.table.Erase(*world.table.Find("first"));
  world.table.Erase(*world.table.Find("second"));
  EXPECT_EQ(world.cache.allocator().used(), 0);
  world.StartOneShot(100, 1);
  world.Step();
  EXPECT_EQ(world.computed_rows, 120 + 4);
  world.cache.ForgetPublished();
  world.StartOneShot(100, 1);
  world.Step();
  EXPECT_EQ(world.computed_rows, 124 + 100);
}

TEST(Scheduler, TwoThatArriveTogetherReadTheirPromptOnce) {
  World world(100, {.max_step_tokens = 64, .max_running = 8, .max_queue = 8});
  world.StartOneShot(640, 1);
  world.StartOneShot(640, 1);
  while (world.Step()) {
  }
  EXPECT_LE(world.computed_rows, 640 + 64 + 16);
}

TEST(Scheduler, NothingIsSharedBetweenTenantsOrWithoutSharing) {
  World tenants(100, {.max_step_tokens = 512, .max_running = 8, .max_queue = 8});
  for (const char* tenant : {"a", "b"}) {
    tenants.StartOneShot(100, 1, tenant);
    tenants.Step();
  }
  EXPECT_EQ(tenants.computed_rows, 200);
  World off(100, {.max_step_tokens = 512, .max_running = 8, .max_queue = 8},
            /*share_prefixes=*/false);
  for (int i = 0; i < 2; ++i) {
    off.StartOneShot(100, 1);
    off.Step();
  }
  EXPECT_EQ(off.computed_rows, 200);
}

// One floods, the other asks now and then: it does not stand at the end of the queue.
TEST(Scheduler, TenantsShareFairly) {
  World world(200, {.max_step_tokens = 64, .max_running = 2, .max_queue = 100});
  for (int i = 0; i < 40; ++i) world.StartOneShot(20, 5, "flood", i);
  world.Step();
  const uint64_t guest = world.StartOneShot(20, 5, "guest").id;
  const uint64_t second = world.StartOneShot(20, 5, "guest").id;
  while (world.Step()) {
  }
  const auto place = [&](uint64_t id) {
    return std::find(world.admitted.begin(), world.admitted.end(), id) - world.admitted.begin();
  };
  EXPECT_LE(place(guest), 3);
  EXPECT_LE(place(second), 6);
  // Within a tenant it is first come, first served.
  EXPECT_TRUE(std::is_sorted(world.admitted.begin(), world.admitted.begin() + 2));
  EXPECT_EQ(world.finished.size(), 42);
}

TEST(Scheduler, IdleSessionsOfATenantDriveOutNobodyElsesBeyondItsShare) {
  for (const int share : {0, 40}) {
    World world(
        100,
        {.max_step_tokens = 512, .max_running = 8, .max_queue = 100, .max_tenant_blocks = share});
    Session& guest = world.AddSession("guest", 0, "guest");
    world.Start(guest, 320, 1);
    world.Step();
    for (int i = 0; i < 20; ++i) {
      world.Start(world.AddSession("flood" + std::to_string(i), 0, "flood"), 160, 1, /*token=*/i);
      world.Step();
      EXPECT_LE(world.cache.held("flood"), share == 0 ? 100 : share);
    }
    EXPECT_EQ(world.finished.size(), 21);
    EXPECT_EQ(guest.cached, share == 0 ? 0 : 320);
    // Its own least recently used ones have gone.
    EXPECT_EQ(world.table.Find("flood0")->cached, 0);
    EXPECT_EQ(world.table.Find("flood19")->cached, 160);
  }
}

TEST(Scheduler, WhoHasItsShareKeepsNobodyElseWaiting) {
  World world(
      100, {.max_step_tokens = 512, .max_running = 8, .max_queue = 100, .max_tenant_blocks = 40});
  for (int i = 0; i < 12; ++i) world.StartOneShot(150, 100, "flood", i);
  world.Step();
  EXPECT_EQ(world.admitted.size(), 4) << "10 blocks each";
  world.StartOneShot(150, 5, "guest");
  world.Step();
  EXPECT_EQ(world.admitted.back(), 13);
  // Calls that grow over the share together give way to the oldest of their tenant, and all end.
  while (world.Step()) {
  }
  EXPECT_GT(world.scheduler.preemptions(), 0);
  EXPECT_EQ(world.finished.size(), 13);
  EXPECT_EQ(world.finished.front(), 13) << "nobody else's blocks were taken for them";
}

// Steps of 8 that decode and a prompt that never ends; the rows that each of the last 100 took.
std::vector<int> RowsAfterAWhile(const std::function<double(int)>& seconds) {
  StepPace pace;
  std::vector<int> rows;
  for (int i = 0; i < 400; ++i) {
    const int count = pace.PromptRows();
    pace.Record(8, count, seconds(count));
    if (i >= 300) rows.push_back(count);
  }
  return rows;
}

TEST(StepPace, TakesAsManyRowsAsTheStretchAllows) {
  for (const int row : RowsAfterAWhile([](int rows) { return 0.04 + 0.0004 * rows; })) {
    EXPECT_TRUE(row == 0 || std::abs(row - (StepPace::kStretch - 1) * 0.04 / 0.0004) <= 1) << row;
  }
}

TEST(StepPace, ADeepPromptDoesNotPassForTheUsualStep) {
  // 0.01 s of each step with a part of the prompt are the keys of what it has read already.
  const auto seconds = [](int rows) { return rows > 0 ? 0.038 + 0.001 * rows : 0.028; };
  for (const int row : RowsAfterAWhile(seconds)) {
    EXPECT_LE(seconds(row), StepPace::kStretch * seconds(0) * 1.05);
  }
}

TEST(StepPace, DoesNotLeapWhereRowsAreFreeAtFirst) {
  StepPace pace;
  const auto seconds = [](int rows) { return 0.026 + 0.0012 * std::max(0, rows - 12); };
  for (int i = 0; i < 100; ++i) {
    const int rows = pace.PromptRows();
    EXPECT_LE(seconds(rows), 2 * seconds(0)) << i;
    pace.Record(8, rows, seconds(rows));
  }
}

TEST(StepPace, PromptsAdvanceWhateverTheyTake) {
  for (const int row : RowsAfterAWhile([](int rows) { return 0.01 + rows; })) {
    EXPECT_TRUE(row == 0 || row == StepPace::kLeastPromptRows) << row;
  }
}

TEST(StepPace, OtherDecodesAreJudgedByTheLastOnes) {
  StepPace pace;
  const auto seconds = [](int decodes, int rows) { return 0.04 + 0.0004 * (decodes + rows); };
  for (int i = 0; i < 100; ++i) {
    const int rows = pace.PromptRows();
    pace.Record(8, rows, seconds(8, rows));
  }
  pace.Record(16, 50, seconds(16, 50));
  EXPECT_NEAR(pace.PromptRows(), (StepPace::kStretch - 1) * seconds(16, 0) / 0.0004, 1);
}

TEST(StepPace, OneLateStepChangesLittle) {
  StepPace pace;
  const auto seconds = [](int rows) { return 0.02 + 0.001 * rows; };
  for (int i = 0; i < 200; ++i) {
    const int rows = pace.PromptRows();
    EXPECT_LE(seconds(rows), 1.9 * seconds(0)) << i;
    pace.Record(8, rows, i % 50 == 7 ? 0.1 : seconds(rows));  // 7: a pause
  }
}

TEST(StepPace, ManyShortPromptsDoNotMakeRoomForALongOne) {
  StepPace pace;
  for (int i = 0; i < 100; ++i) {
    const int rows = std::min(pace.PromptRows(), 3);
    pace.Record(8, rows, 0.026);  // so few rows are free
  }
  EXPECT_LE(pace.PromptRows(), 2 * StepPace::kLeastPromptRows);
}

TEST(StepPace, FindsItsPaceAgainWhenMostHaveEnded) {
  StepPace pace;
  const auto seconds = [](int decodes, int rows) { return 0.02 + 0.0005 * (decodes + 8 * rows); };
  for (int i = 0; i < 100; ++i) {
    const int rows = pace.PromptRows();
    pace.Record(64, rows, seconds(64, rows));
  }
  for (int i = 0; i < 10'000; ++i) pace.Record(2, 0, seconds(2, 0));
  int most = 0;
  for (int i = 0; i < 100; ++i) {
    const int rows = pace.PromptRows();
    if (i > 0) most = std::max(most, rows);
    pace.Record(2, rows, seconds(2, rows));
  }
  EXPECT_EQ(most, StepPace::kLeastPromptRows);  // 0.5 * 21 ms / 4 ms
  for (int decodes : {2, 64, 2, 64}) {
    for (int i = 0; i < 100; ++i) {
      const int rows = pace.PromptRows();
      EXPECT_GE(rows, 0);
      EXPECT_LE(rows, 16);
      pace.Record(decodes, rows, seconds(decodes, rows));
    }
  }
}

TEST(StepPace, MeasuresAStepWithoutPromptsNowAndThen) {
  StepPace pace;
  EXPECT_EQ(pace.PromptRows(), 0);
  pace.Record(1, 0, 0.01);
  int pauses = 0;
  for (int i = 0; i < 10 * StepPace::kPause; ++i) pauses += pace.PromptRows() == 0;
  EXPECT_EQ(pauses, 10);
}

}  // namespace
}  // namespace kvasir
