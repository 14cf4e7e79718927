#include "engine/schedule/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "engine/batch.h"

namespace kvasir {
namespace {

class SwitchedSink : public GenerateSink {
 public:
  bool HasRoom() const override { return room; }
  void OnStarted(const GenerateStarted&) override {}
  void OnTokens(std::span<const int>, std::span<const TokenLogprob>,
                std::span<const TokenLogprob>) override {}
  void OnComplete(const GenerateComplete&) override {}
  void OnError(const absl::Status&) override {}
  bool room = true;
};

// A scheduler with a model that does nothing but answer: every step's rows are checked, marked as
// computed, and calls whose tokens are all computed get one more.
class World {
 public:
  World(int blocks, SchedulerLimits limits)
      : limits(limits), cache(blocks), table(cache), scheduler(cache, table, limits) {}

  Session& AddSession(const std::string& id, int tokens) {
    auto session = std::make_unique<Session>();
    session->id = id;
    session->tokens.assign(tokens, 1);
    session->committed = tokens;
    return table.Insert(std::move(session));
  }

  Call& Start(Session& session, int input, uint32_t max_new) {
    auto owned = std::make_unique<Call>();
    Call& call = *owned;
    call.id = next_id++;
    call.sink = std::make_shared<SwitchedSink>();
    call.session = &session;
    call.base_length = session.committed;
    call.max_new_tokens = max_new;
    call.next_prompt_logprob = call.base_length + input;
    call.request.input_ids.assign(input, 2);
    session.tokens.insert(session.tokens.end(), input, 2);
    session.busy = true;
    if (session.cached == session.tokens.size()) cache.Truncate(session, session.cached - 1);
    scheduler.Add(call);
    calls[call.id] = std::move(owned);
    return call;
  }

  SwitchedSink& SinkOf(Call& call) { return static_cast<SwitchedSink&>(*call.sink); }

  void End(Call& call) {
    scheduler.Remove(call);
    Session& session = *call.session;
    session.tokens.resize(session.committed);
    cache.Truncate(session, session.committed);
    session.busy = false;
    finished.push_back(call.id);
    calls.erase(call.id);
  }

  // False: nobody can run.
  bool Step() {
    const bool work = scheduler.Plan(plan);
    if (work) CheckPlan();
    for (const StepEntry& entry : plan.entries) {
      Call& call = *entry.call;
      call.session->cached = entry.first + entry.count;
      if (call.pending() > 0) continue;
      call.session->tokens.push_back(3);
      call.session->committed = call.session->tokens.size();
      if (++call.generated == call.max_new_tokens) End(call);
    }
    return work;
  }

  void CheckPlan() {
    int rows = 0;
    std::set<const Call*> seen;
    std::set<int> written;
    for (const StepEntry& entry : plan.entries) {
      const Session& session = *entry.call->session;
      ASSERT_TRUE(seen.insert(entry.call).second);
      ASSERT_TRUE(entry.call->running);
      ASSERT_TRUE(entry.call->sink->HasRoom());
      ASSERT_EQ(entry.first, session.cached);
      ASSERT_GT(entry.count, 0);
      ASSERT_LE(entry.first + entry.count, session.tokens.size());
      ASSERT_EQ(session.blocks.size(), KvCache::BlocksFor(entry.first + entry.count));
      for (size_t p = entry.first; p < entry.first + entry.count; ++p) {
        const int block = session.blocks[p / kBlockTokens];
        ASSERT_EQ(cache.allocator().references(block), 1) << "a shared block would be written";
        ASSERT_TRUE(
            written.insert(block * kBlockTokens + static_cast<int>(p % kBlockTokens)).second);
      }
      rows += entry.count;
    }
    ASSERT_LE(rows, limits.max_step_tokens);
    ASSERT_LE(plan.entries.size(), limits.max_running);
  }

  int RowsOf(const Call& call) const {
    for (const StepEntry& entry : plan.entries) {
      if (entry.call == &call) return entry.count;
    }
    return 0;
  }

  SchedulerLimits limits;
  KvCache cache;
  SessionTable table;
  Scheduler scheduler;
  StepPlan plan;
  std::map<uint64_t, std::unique_ptr<Call>> calls;
  std::vector<uint64_t> finished;
  uint64_t next_id = 1;
};

TEST(Scheduler, MixesDecodesWithChunksOfAPrompt) {
  World world(100, {.max_step_tokens = 32, .max_running = 8, .max_queue = 8});
  Call& talker = world.Start(world.AddSession("talker", 0), 5, 50);
  world.Step();
  Call& reader = world.Start(world.AddSession("reader", 0), 100, 5);
  for (int chunk : {31, 31, 31, 7}) {
    ASSERT_TRUE(world.Step());
    EXPECT_EQ(world.RowsOf(talker), 1);
    EXPECT_EQ(world.RowsOf(reader), chunk);
  }
  EXPECT_EQ(reader.generated, 1);
  EXPECT_EQ(talker.generated, 5);
}

TEST(Scheduler, EvictsIdleSessionsBeforeAnyoneWaits) {
  World world(10, {.max_step_tokens = 512, .max_running = 8, .max_queue = 8});
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
  World world(8, {.max_step_tokens = 64, .max_running = 8, .max_queue = 8});
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
  World world(8, {.max_step_tokens = 128, .max_running = 1, .max_queue = 8});
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
  World world(100, {.max_step_tokens = 64, .max_running = 2, .max_queue = 100});
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
  Call& call = world.Start(world.AddSession("a", 0), 200, 1);
  call.next_prompt_logprob = 1;
  world.Step();
  EXPECT_LE(world.RowsOf(call), world.limits.max_logits());
}

// Random arrivals, cancellations, stalls, forks and cuts over a pool that is far too small: the
// plan's invariants hold at every step, everyone is served, nothing leaks.
TEST(Scheduler, SurvivesRandomLoad) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    World world(24, {.max_step_tokens = 48, .max_running = 4, .max_queue = 100});
    std::vector<Session*> sessions;
    const auto pick_call = [&]() -> Call* {
      if (world.calls.empty()) return nullptr;
      auto it = world.calls.begin();
      std::advance(it, random() % world.calls.size());
      return it->second.get();
    };
    const auto cut = [&](Session* session) {
      session->tokens.resize(random() % (session->committed + 1));
      session->committed = session->tokens.size();
      world.cache.Truncate(*session, session->committed);
    };
    for (int i = 0; i < 4000; ++i) {
      Session* session = sessions.empty() ? nullptr : sessions[random() % sessions.size()];
      switch (random() % 8) {
        case 0:
          if (sessions.size() < 30) sessions.push_back(&world.AddSession(std::to_string(i), 0));
          break;
        case 1:
          if (session != nullptr && !session->busy) {
            if (session->committed > 150) cut(session);
            world.Start(*session, 1 + random() % 120, 1 + random() % 30);
          }
          break;
        case 2:
          if (session != nullptr && sessions.size() < 30) {
            Session& fork =
                world.AddSession(std::to_string(i), static_cast<int>(session->committed));
            world.cache.Share(*session, session->committed, fork);
            sessions.push_back(&fork);
          }
          break;
        case 3:
          if (Call* call = pick_call(); call != nullptr && random() % 4 == 0) world.End(*call);
          break;
        case 4:
          if (Call* call = pick_call()) world.SinkOf(*call).room = random() % 3 != 0;
          break;
        default:
          world.Step();
          if (HasFatalFailure()) return;
      }
    }
    for (auto& [id, call] : world.calls) world.SinkOf(*call).room = true;
    int steps = 0;
    while (world.Step()) ASSERT_LT(++steps, 20000) << "someone starves";
    EXPECT_TRUE(world.calls.empty());
    EXPECT_EQ(world.scheduler.running() + world.scheduler.waiting(), 0);
    for (Session* session : sessions) world.table.Erase(*session);
    EXPECT_EQ(world.cache.allocator().used(), 0);
  }
}

}  // namespace
}  // namespace kvasir
