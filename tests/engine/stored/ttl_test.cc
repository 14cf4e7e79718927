// Sessions whose idle time runs out, where they are stored.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "tests/engine/stored/stored_engine.h"

namespace kvasir {
namespace {

using testing::Eventually;
using testing::FirstTurn;
using testing::Outcome;
using testing::ReasonOf;
using testing::SlowTurn;
using testing::StoredEngine;
using testing::Turn;

constexpr absl::Duration kTtl = absl::Milliseconds(100);

class TtlTest : public ::testing::Test {
 protected:
  // Expired, and no sweep has come by.
  void CreateExpired(const std::vector<std::string>& ids) {
    const int sweeps = engine_.store().sweeps();
    for (const std::string& id : ids) {
      ASSERT_TRUE(engine_->Create({.session_id = id, .initial_ids = {1, 2}, .ttl = kTtl}).ok());
    }
    absl::SleepFor(kTtl);
    ASSERT_EQ(engine_.store().sweeps(), sweeps);
  }
  bool IsStored(const std::string& id) { return engine_.store().Peek(id).ok(); }
  // Sweeps begin anew with each life of an engine, and come every few seconds.
  void AwaitFirstSweep() {
    ASSERT_TRUE(Eventually([&] { return engine_.store().sweeps() > 0; }));
  }

  StoredEngine engine_;
};

TEST_F(TtlTest, AnExpiredSessionIsNotFoundByAnyone) {
  for (const bool restarts : {false, true}) {
    if (restarts) engine_.Restart();
    AwaitFirstSweep();
    CreateExpired({"a", "b", "c", "d", "e", "f"});
    EXPECT_EQ(ReasonOf(engine_->Get("a").status()), "SESSION_NOT_FOUND");
    EXPECT_EQ(ReasonOf(engine_->Read("a").status()), "SESSION_NOT_FOUND");
    EXPECT_EQ(ReasonOf(engine_->Fork("a", "fork").status()), "SESSION_NOT_FOUND");
    EXPECT_EQ(engine_->List({})->sessions.size(), 0);
    EXPECT_TRUE(IsStored("b"));
    EXPECT_EQ(ReasonOf(engine_->Generate(Turn("b", {1}, 1)).status), "SESSION_NOT_FOUND");
    EXPECT_EQ(ReasonOf(engine_->Truncate("c", 1).status()), "SESSION_NOT_FOUND");
    // Its place is free.
    EXPECT_TRUE(IsStored("d"));
    const Outcome turn = engine_->Generate(FirstTurn("d", {1}, 1));
    EXPECT_TRUE(turn.status.ok()) << turn.status;
    EXPECT_EQ(turn.started.session_length, 0);
    EXPECT_TRUE(IsStored("e"));
    const auto created = engine_->Create({.session_id = "e", .initial_ids = {7}});
    EXPECT_TRUE(created.ok()) << created.status();
    EXPECT_EQ(*engine_->Read("e"), std::vector{7});
    EXPECT_TRUE(IsStored("f"));
    const auto fork = engine_->Fork("e", "f");
    EXPECT_TRUE(fork.ok()) << fork.status();
    EXPECT_EQ(ReasonOf(engine_->Create({.session_id = "e"}).status()), "SESSION_EXISTS");
    for (const std::string id : {"d", "e", "f"}) EXPECT_TRUE(engine_->Delete(id).ok());
  }
}

TEST_F(TtlTest, TheSweepDeletesThemFromMemoryAndStore) {
  AwaitFirstSweep();
  ASSERT_TRUE(engine_->Create({.session_id = "stays"}).ok());
  CreateExpired({"here"});
  ASSERT_TRUE(engine_->Generate(FirstTurn("spoke", {1}, 3)).status.ok());
  EXPECT_TRUE(Eventually([&] { return !IsStored("here"); }));
  EXPECT_TRUE(Eventually([&] { return engine_->Stats().sessions == 2; }));
  EXPECT_TRUE(IsStored("stays"));
  CreateExpired({"elsewhere"});
  engine_.Restart();  // then it is in no memory
  EXPECT_TRUE(Eventually([&] { return !IsStored("elsewhere"); }));
  EXPECT_TRUE(IsStored("stays"));
  EXPECT_TRUE(IsStored("spoke"));
}

TEST_F(TtlTest, ASessionDoesNotExpireWhileACallRuns) {
  ASSERT_TRUE(engine_->Create({.session_id = "s", .initial_ids = {1, 2}, .ttl = kTtl}).ok());
  SlowTurn turn(*engine_, "s");
  const int sweeps = engine_.store().sweeps();
  ASSERT_TRUE(Eventually([&] { return engine_.store().sweeps() >= sweeps + 2; }));
  EXPECT_TRUE(IsStored("s"));
  turn.GoOn();
  EXPECT_TRUE(turn.Wait().status.ok()) << turn.Wait().status;
  EXPECT_TRUE(IsStored("s"));
  EXPECT_TRUE(Eventually([&] { return !IsStored("s"); }));  // since then, nobody has used it
}

}  // namespace
}  // namespace kvasir
