// Two engines over one Redis: who may write a session, and what the other one says.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "engine/error.h"
#include "engine/journal/redis_store.h"
#include "tests/engine/journal/redis_link.h"
#include "tests/engine/journal/redis_server.h"
#include "tests/engine/stored/stored_engine.h"
#include "tests/engine/wall_clock.h"

namespace kvasir {
namespace {

using testing::DifferenceOf;
using testing::Eventually;
using testing::FaultStore;
using testing::FreshAnswer;
using testing::Joined;
using testing::Outcome;
using testing::RandomModel;
using testing::ReasonOf;
using testing::RedisLink;
using testing::RedisServer;
using testing::SlowTurn;
using testing::SyncEngine;
using testing::Turn;

constexpr uint64_t kSeed = 12;
// Longer than an engine believes in a lease that it has not renewed.
constexpr absl::Duration kNoLongerTrusted = absl::Milliseconds(4200);

struct Replica {
  std::shared_ptr<FaultStore> store;
  std::unique_ptr<SyncEngine> engine;

  Replica(const std::string& url, const std::string& address) {
    auto opened = RedisStore::Open(url, address);
    EXPECT_TRUE(opened.ok()) << opened.status();
    store = std::make_shared<FaultStore>(*std::move(opened));
    EngineOptions options = RandomModel::Options();
    options.session_store = store;
    engine = std::make_unique<SyncEngine>(std::move(options));
  }
  SyncEngine* operator->() { return engine.get(); }
};

class OwnershipTest : public ::testing::Test {
 protected:
  OwnershipTest() : a_(server_.url(), "a:1"), b_(server_.url(), "b:1") {
    EXPECT_TRUE(
        a_->Create({.session_id = "s", .initial_ids = {1, 2, 3}, .sampling = {.seed = kSeed}})
            .ok());
  }

  // As if the lease's time had come.
  void LetLapse(const std::string& id = "s") {
    server_.Run({"HSET", "kvasir:s:" + id + ":record", "lease_until", "1"});
  }
  // A turn after which the session is `content_`.
  void Speak(Replica& replica) {
    const Outcome outcome = replica->Generate(Turn("s", {7}, 4));
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(outcome.started.session_length, content_.size());
    const Outcome expected = FreshAnswer(*replica.engine, content_, {7}, 4, kSeed);
    EXPECT_EQ(DifferenceOf(outcome.logprobs, expected.logprobs), "");
    content_ = Joined(content_, Joined({7}, outcome.ids));
  }
  static void ExpectNotOwner(const absl::Status& status, const std::string& owner) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_EQ(ReasonOf(status), "NOT_OWNER");
    EXPECT_EQ(DetailOf(status).metadata["owner"], owner);
  }
  static void ExpectLost(const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
    EXPECT_EQ(ReasonOf(status), "LEASE_LOST");
  }

  RedisServer server_;
  Replica a_, b_;
  std::vector<int> content_ = {1, 2, 3};
};

TEST_F(OwnershipTest, AStoppedReplicasSessionsAreFreeAtOnce) {
  Speak(a_);
  ExpectNotOwner(b_->Generate(Turn("s", {7}, 4)).status, "a:1");
  a_.engine.reset();
  Speak(b_);
  EXPECT_EQ(b_->Stats().session_moves, 1);
  Speak(b_);
  EXPECT_EQ(b_->Stats().session_moves, 1);
}

TEST_F(OwnershipTest, ALapsedLeaseIsTakenOverAndTheFormerHolderLearnsIt) {
  Speak(a_);
  LetLapse();
  Speak(b_);
  // It believes to own the session still.
  ExpectLost(a_->Generate(Turn("s", {9}, 4)).status);
  EXPECT_EQ(*b_->Read("s"), content_);
  EXPECT_EQ(*a_->Read("s"), content_);
  ExpectNotOwner(a_->Generate(Turn("s", {9}, 4)).status, "b:1");
  LetLapse();
  Speak(a_);
  EXPECT_EQ(a_->Stats().session_moves, 1);
  EXPECT_EQ(b_->Stats().session_moves, 1);
}

TEST_F(OwnershipTest, OfTwoThatBelieveToOwnASessionOneWrites) {
  Replica* holder = &a_;
  Replica* other = &b_;
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    LetLapse();
    // One more trusts its lease now; it appends, cuts or deletes what is not its own any more.
    const auto second = (*other)->Start(Turn("s", {8}, 3));
    ASSERT_TRUE(
        Eventually([&] { return (*other)->Get("s")->last_base_length == content_.size(); }));
    absl::Status first;
    switch (round % 3) {
      case 0:
        first = (*holder)->Generate(Turn("s", {9}, 1)).status;
        break;
      case 1:
        first = (*holder)->Truncate("s", 1).status();
        break;
      default:
        first = (*holder)->Delete("s");
    }
    ExpectLost(first);
    const Outcome& outcome = second->Wait();
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    content_ = Joined(content_, Joined({8}, outcome.ids));
    EXPECT_EQ(a_.store->Peek("s")->tokens, content_);
    EXPECT_EQ(*(*holder)->Read("s"), content_);
    std::swap(holder, other);
  }
}

TEST_F(OwnershipTest, AWriteThatComesAfterTheTakeOverDoesNotCount) {
  a_.store->Hang();
  const auto late = a_->Start(Turn("s", {9}, 2));
  a_.store->AwaitHanging();
  LetLapse();
  Speak(b_);
  a_.store->LetGo();
  ExpectLost(late->Wait().status);
  EXPECT_EQ(b_.store->Peek("s")->tokens, content_);
  EXPECT_EQ(*a_->Read("s"), content_);
  Speak(b_);
}

TEST_F(OwnershipTest, WhileACallRunsTheOtherReplicaReadsButDoesNotWrite) {
  SlowTurn turn(*a_.engine, "s");
  ExpectNotOwner(b_->Generate(Turn("s", {7}, 4)).status, "a:1");
  ExpectNotOwner(b_->Truncate("s", 1).status(), "a:1");
  ExpectNotOwner(b_->Delete("s"), "a:1");
  EXPECT_EQ(ReasonOf(b_->Create({.session_id = "s"}).status()), "SESSION_EXISTS");
  EXPECT_EQ(b_->Get("s")->length, 3);
  EXPECT_EQ(*b_->Read("s"), content_);
  EXPECT_EQ(b_->List({})->sessions.size(), 1);
  ASSERT_TRUE(b_->Fork("s", "fork").ok());
  EXPECT_EQ(*b_->Read("fork"), content_);
  // The lease is renewed as long as the call runs.
  const auto lease = [&] { return server_.Run({"HGET", "kvasir:s:s:record", "lease_until"}); };
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(Eventually([&, before = lease()] { return lease() > before; }));
  }
  turn.GoOn();
  const Outcome& outcome = turn.Wait();
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  content_ = Joined(content_, Joined({4, 2}, outcome.ids));
  EXPECT_EQ(*b_->Read("s"), content_);
  EXPECT_EQ(b_->Stats().session_moves, 0);
  // Then it ends by itself.
  EXPECT_TRUE(Eventually([&] { return b_->Truncate("s", content_.size()).ok(); }));
  EXPECT_EQ(b_->Stats().session_moves, 1);
  Speak(b_);
}

TEST_F(OwnershipTest, ACallEndsWhereItsLeaseIsLost) {
  SlowTurn turn(*a_.engine, "s");
  LetLapse();
  Speak(b_);
  ExpectLost(turn.Wait().status);  // found by the renewal: its reader is slow
  EXPECT_EQ(*a_->Read("s"), content_);
  EXPECT_FALSE(a_->Get("s")->busy);
  ExpectNotOwner(a_->Generate(Turn("s", {9}, 4)).status, "b:1");
  Speak(b_);
}

TEST_F(OwnershipTest, MemoryIsNotReadLongerThanTheLease) {
  SlowTurn turn(*a_.engine, "s");
  a_.store->LoseRenewals(true);
  absl::SleepFor(kNoLongerTrusted);
  LetLapse();
  Speak(b_);
  EXPECT_EQ(*a_->Read("s"), content_);
  EXPECT_EQ(a_->Get("s")->length, content_.size());
  // Nor where a write is under way that may renew it, or not.
  a_.store->Hang();
  turn.GoOn();
  a_.store->AwaitHanging();
  std::promise<std::vector<int>> read;
  a_->engine().ReadSession("", "s", 0, [&](absl::StatusOr<std::vector<int>> ids) {
    read.set_value(ids.ok() ? *std::move(ids) : std::vector<int>());
  });
  a_->DropIdleBlocks();
  a_.store->LetGo();
  EXPECT_EQ(read.get_future().get(), content_);
  ExpectLost(turn.Wait().status);
  a_.store->LoseRenewals(false);
  Speak(b_);
}

// Deleted and made again by another replica: of the same length and version, but not the same.
TEST_F(OwnershipTest, WhatIsInMemoryOfADeletedSessionIsNotTakenForTheNextOne) {
  std::vector<int> old(64), fresh(64);
  for (int i = 0; i < 64; ++i) {
    old[i] = i + 3;
    fresh[i] = i < 20 ? old[i] : 300 - i;
  }
  ASSERT_TRUE(
      a_->Create({.session_id = "x", .initial_ids = old, .sampling = {.seed = kSeed}}).ok());
  ASSERT_TRUE(a_->Generate(Turn("x", {}, 1)).status.ok());
  LetLapse("x");
  ASSERT_TRUE(b_->Delete("x").ok());
  ASSERT_TRUE(
      b_->Create({.session_id = "x", .initial_ids = fresh, .sampling = {.seed = kSeed}}).ok());
  ASSERT_TRUE(b_->Generate(Turn("x", {}, 1)).status.ok());
  absl::SleepFor(kNoLongerTrusted);
  EXPECT_LE(a_->Get("x")->cached_tokens, 20);
  EXPECT_LE(a_->List({})->sessions[1].cached_tokens, 20);
  const auto made = a_->Fork("x", "fork", 64);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(*a_->Read("fork"), fresh);
  const Outcome spoken = a_->Generate(Turn("fork", {2, 7}, 6));
  const Outcome expected = FreshAnswer(*b_.engine, fresh, {2, 7}, 6, kSeed);
  EXPECT_EQ(DifferenceOf(spoken.logprobs, expected.logprobs), "");
  EXPECT_LE(spoken.started.cached_tokens, 20);
  // Nor does anybody else find what the fork's blocks would have been.
  const Outcome other = FreshAnswer(*a_.engine, fresh, {2, 7}, 6, kSeed);
  EXPECT_EQ(DifferenceOf(other.logprobs, expected.logprobs), "");
}

TEST_F(OwnershipTest, ALeaseIsNotProlongedByWhoSetsTheClock) {
  testing::SetWallClockBack(absl::Hours(1));
  absl::SleepFor(kNoLongerTrusted);
  LetLapse();
  Speak(b_);
  EXPECT_EQ(*a_->Read("s"), content_);
  testing::SetWallClockBack(absl::ZeroDuration());
}

TEST_F(OwnershipTest, ASessionThatLeavesTheMemoryMeanwhileIsReadAgain) {
  LetLapse();
  Speak(b_);
  LetLapse();
  absl::SleepFor(kNoLongerTrusted);
  a_.store->Hang();
  a_.store->FailNextAcquire();
  std::promise<absl::Status> deleted;
  a_->engine().DeleteSession("", "s", [&](const absl::Status& s) { deleted.set_value(s); });
  const auto turn = a_->Start(Turn("s", {9}, 2));
  a_->DropIdleBlocks();
  a_.store->LetGo();
  EXPECT_EQ(ReasonOf(deleted.get_future().get()), "STORE");
  const Outcome& outcome = turn->Wait();
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.started.session_length, content_.size());
  EXPECT_EQ(*a_->Read("s"), Joined(content_, Joined({9}, outcome.ids)));
}

// Two questions about one session are on their way to the store at once.
TEST_F(OwnershipTest, ADeletionAndACallMeetAtTheStore) {
  for (const std::string id : {"first", "second"}) {
    ASSERT_TRUE(a_->Create({.session_id = id, .initial_ids = {1, 2, 3}}).ok());
  }
  absl::SleepFor(kNoLongerTrusted);  // the store is asked
  for (const std::string id : {"first", "second"}) {
    const bool deletes_first = id == "first";
    a_.store->Hang();
    std::promise<absl::Status> deleted;
    const auto deletes = [&] {
      a_->engine().DeleteSession("", id,
                                 [&](const absl::Status& status) { deleted.set_value(status); });
    };
    if (deletes_first) deletes();
    const auto turn = a_->Start(Turn(id, {4}, 2));
    if (!deletes_first) deletes();
    a_->DropIdleBlocks();  // both have been asked for
    a_.store->LetGo();
    const Outcome& outcome = turn->Wait();
    const absl::Status status = deleted.get_future().get();
    EXPECT_TRUE(status.ok() || !deletes_first) << status;
    EXPECT_TRUE(status.ok() || outcome.status.ok());
    const auto left = a_->Read(id);
    if (status.ok()) {
      EXPECT_EQ(ReasonOf(left.status()), "SESSION_NOT_FOUND");
      EXPECT_TRUE(absl::IsNotFound(a_.store->Peek(id).status()));
    } else {
      EXPECT_EQ(*left, Joined({1, 2, 3, 4}, outcome.ids));
    }
  }
}

TEST_F(OwnershipTest, AFailedWriteDoesNotKeepTheLease) {
  ASSERT_TRUE(a_->Create({.session_id = "cut", .initial_ids = {1, 2}}).ok());
  ASSERT_TRUE(a_->Create({.session_id = "gone", .initial_ids = {1, 2}}).ok());
  a_.store->FailAllWrites();
  EXPECT_EQ(ReasonOf(a_->Generate(Turn("s", {9}, 2)).status), "STORE");
  EXPECT_EQ(ReasonOf(a_->Truncate("cut", 1).status()), "STORE");
  absl::SleepFor(kNoLongerTrusted);  // then a deletion takes the lease anew
  EXPECT_EQ(ReasonOf(a_->Delete("gone")), "STORE");
  a_.store->Heal();
  for (const std::string id : {"s", "cut", "gone"}) {
    EXPECT_TRUE(Eventually([&] { return b_->Truncate(id, 2).ok(); })) << id;
  }
}

TEST_F(OwnershipTest, AReplicaThatComesBackHasItsSessionsAtOnce) {
  Speak(a_);
  // Its engine hangs for good; another life under the same address.
  Replica again(server_.url(), "a:1");
  const Outcome outcome = again->Generate(Turn("s", {7}, 4));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.started.session_length, content_.size());
  content_ = *again->Read("s");
  ExpectLost(a_->Generate(Turn("s", {9}, 4)).status);
  EXPECT_EQ(*again->Read("s"), content_);
}

TEST_F(OwnershipTest, AWriteThatArrivesTwiceIsAppendedOnce) {
  RedisLink link(server_.port());
  Replica c(link.url(), "c:1");
  LetLapse();
  Speak(c);
  for (int i = 0; i < 3; ++i) {
    link.HoldNextRequest();
    Speak(c);  // sent again over a new connection
    link.DeliverHeld();
    EXPECT_EQ(b_.store->Peek("s")->tokens, content_);
    link.LoseNextReply();
    Speak(c);
    EXPECT_EQ(b_.store->Peek("s")->tokens, content_);
  }
}

}  // namespace
}  // namespace kvasir
