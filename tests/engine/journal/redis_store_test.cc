// Who may write a session in Redis, and what it costs.
#include "engine/journal/redis_store.h"

#include <chrono>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/journal/random_sessions.h"
#include "tests/engine/journal/redis_link.h"
#include "tests/engine/journal/redis_server.h"
#include "tests/engine/journal/session_holder.h"

namespace kvasir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::RedisLink;
using testing::RedisServer;
using testing::SessionHolder;
using ::testing::UnorderedElementsAre;

using Tokens = std::vector<int>;

constexpr absl::Duration kLongLease = absl::Minutes(10);  // ends only where a test says so

class RedisStoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<RedisStore> Open(const std::string& owner, absl::Duration lease = kLongLease) {
    return OpenAt(server_.url(), owner, lease);
  }
  static std::unique_ptr<RedisStore> OpenAt(const std::string& url, const std::string& owner,
                                            absl::Duration lease = kLongLease) {
    auto store = RedisStore::Open(url, owner, lease);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  // As if its time had come.
  void LetLapse(const std::string& id) {
    server_.Run({"HSET", "kvasir:s:" + id + ":record", "lease_until", "1"});
  }
  static Tokens StoredTokens(RedisStore& store, const std::string& id) {
    auto session = store.Load(id);
    EXPECT_TRUE(session.ok()) << session.status();
    return session.ok() ? session->tokens : Tokens{-1};
  }

  RedisServer server_;
};

TEST_F(RedisStoreTest, OneOfTwoHoldersWrites) {
  const auto a = Open("a:1"), b = Open("b:1");
  SessionHolder first(*a, "s"), second(*b, "s");
  ASSERT_TRUE(first.Create({1}).ok());
  LetLapse("s");
  ASSERT_TRUE(second.Acquire().ok());
  EXPECT_EQ(second.tokens, Tokens{1});
  EXPECT_GT(second.fence, first.fence);

  // Both believe that the session is theirs, at the same version.
  EXPECT_TRUE(absl::IsAborted(first.Append({2})));
  EXPECT_TRUE(second.Append({3}).ok());
  EXPECT_TRUE(absl::IsAborted(first.Delete()));
  EXPECT_TRUE(absl::IsAborted(first.Change(0, {})));
  EXPECT_EQ(StoredTokens(*a, "s"), (Tokens{1, 3}));
}

TEST_F(RedisStoreTest, OneReplicaCannotWriteAVersionTwice) {
  const auto a = Open("a:1");
  SessionHolder holder(*a, "s");
  ASSERT_TRUE(holder.Create({1}).ok());
  SessionHolder twin = holder;
  EXPECT_TRUE(holder.Append({2}).ok());
  EXPECT_TRUE(absl::IsAborted(twin.Append({2})));
  EXPECT_EQ(StoredTokens(*a, "s"), (Tokens{1, 2}));
}

TEST_F(RedisStoreTest, OthersAreToldTheOwnerWhileTheLeaseLasts) {
  const auto a = Open("a.example:50052"), b = Open("b:1");
  SessionHolder first(*a, "s"), second(*b, "s");
  ASSERT_TRUE(first.Create({1}).ok());
  const auto refused = second.Acquire();
  EXPECT_TRUE(absl::IsUnavailable(refused));
  EXPECT_EQ(DetailOf(refused).reason, "NOT_OWNER");
  EXPECT_EQ(DetailOf(refused).metadata.at("owner"), "a.example:50052");

  ASSERT_TRUE(first.Release().ok());
  const auto taken = b->Acquire("s", std::nullopt);
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_TRUE(taken->taken_over);
  EXPECT_EQ(DetailOf(first.Acquire()).reason, "NOT_OWNER");
}

TEST_F(RedisStoreTest, ALeaseEndsByRedisClock) {
  const auto a = Open("a:1", absl::Milliseconds(100)), b = Open("b:1", absl::Milliseconds(100));
  SessionHolder first(*a, "s"), second(*b, "s");
  ASSERT_TRUE(first.Create({1}).ok());
  while (!second.Acquire().ok()) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_TRUE(second.Append({2}).ok());
}

TEST_F(RedisStoreTest, WritesAndRenewalsExtendTheLease) {
  const auto a = Open("a:1"), b = Open("b:1");
  SessionHolder first(*a, "s"), second(*b, "s");
  ASSERT_TRUE(first.Create({1}).ok());
  LetLapse("s");
  ASSERT_TRUE(first.Append({2}).ok());  // nobody has taken it meanwhile
  EXPECT_EQ(DetailOf(second.Acquire()).reason, "NOT_OWNER");
  LetLapse("s");
  const std::vector<SessionStore::Lease> leases = {{"s", first.fence}, {"none", 1}};
  const auto lost = a->Renew(leases);
  ASSERT_TRUE(lost.ok()) << lost.status();
  EXPECT_THAT(*lost, ElementsAre("none"));
  EXPECT_EQ(DetailOf(second.Acquire()).reason, "NOT_OWNER");

  LetLapse("s");
  ASSERT_TRUE(second.Acquire().ok());
  EXPECT_THAT(*a->Renew(leases), ElementsAre("s", "none"));
  ASSERT_TRUE(a->Release(leases).ok());  // of a lost lease: passed over
  EXPECT_EQ(DetailOf(first.Acquire()).reason, "NOT_OWNER");
}

TEST_F(RedisStoreTest, AnEndOfALeaseThatNoLeaseCanHaveCountsAsNone) {
  const auto a = Open("a:1"), b = Open("b:1");
  SessionHolder first(*a, "s"), second(*b, "s");
  ASSERT_TRUE(first.Create({1}).ok());
  server_.Run({"HSET", "kvasir:s:s:record", "lease_until", "9223372036854775807"});
  EXPECT_TRUE(second.Acquire().ok());
}

TEST_F(RedisStoreTest, ARestartedReplicaHasItsSessionsAtOnceAndItsFormerLifeHasLostThem) {
  const auto former = Open("a:1");
  SessionHolder before(*former, "s");
  ASSERT_TRUE(before.Create({1}).ok());
  const auto restarted = Open("a:1");
  SessionHolder after(*restarted, "s");
  const auto session = restarted->Acquire("s", std::nullopt);
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_FALSE(session->taken_over);
  EXPECT_GT(session->fence, before.fence);
  EXPECT_TRUE(absl::IsAborted(before.Append({2})));
}

TEST_F(RedisStoreTest, ADeletedSessionsHolderCannotWriteTheNextOfThatName) {
  const auto a = Open("a:1"), b = Open("b:1");
  SessionHolder old(*a, "s"), next(*b, "s");
  ASSERT_TRUE(old.Create({1}).ok());
  ASSERT_TRUE(old.Append({2}).ok());
  LetLapse("s");
  ASSERT_TRUE(next.Acquire().ok());
  ASSERT_TRUE(next.Delete().ok());
  EXPECT_TRUE(absl::IsAborted(old.Append({3})));
  server_.Run({"DEL", "kvasir:fence"});  // even so
  ASSERT_TRUE(next.Create({7}).ok());
  ASSERT_TRUE(next.Append({8}).ok());
  EXPECT_EQ(next.record.version, old.record.version);
  EXPECT_TRUE(absl::IsAborted(old.Append({3})));
  EXPECT_EQ(StoredTokens(*b, "s"), (Tokens{7, 8}));

  // Nor may it believe that what it has in memory is that session, though the versions are equal.
  LetLapse("s");
  const auto acquired = a->Acquire("s", old.record.version);
  ASSERT_TRUE(acquired.ok()) << acquired.status();
  EXPECT_EQ(acquired->tokens, (Tokens{7, 8}));
}

TEST_F(RedisStoreTest, WhatTheCallerHasIsNotSentAgain) {
  const auto a = Open("a:1"), b = Open("b:1");
  SessionHolder holder(*a, "s"), other(*b, "s");
  ASSERT_TRUE(holder.Create(Tokens(1000, 5)).ok());
  ASSERT_TRUE(holder.Release().ok());
  const auto same = a->Acquire("s", holder.record.version);
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_FALSE(same->tokens.has_value());
  EXPECT_EQ(same->record.length, 1000);
  holder.fence = same->fence;
  ASSERT_TRUE(holder.Release().ok());

  ASSERT_TRUE(other.Acquire().ok());
  ASSERT_TRUE(other.Append({6}).ok());
  ASSERT_TRUE(other.Release().ok());
  const auto newer = a->Acquire("s", holder.record.version);
  ASSERT_TRUE(newer.ok()) << newer.status();
  EXPECT_EQ(newer->tokens.value().size(), 1001);
}

TEST_F(RedisStoreTest, DatabasesAreApartAndPasswordsAreAskedFor) {
  const auto zero = Open("a:1");
  const auto five = OpenAt(server_.url(5), "a:1");
  EXPECT_THAT(five->name(), HasSubstr("/5"));
  SessionHolder holder(*five, "s");
  ASSERT_TRUE(holder.Create({1}).ok());
  EXPECT_TRUE(absl::IsNotFound(zero->Load("s").status()));
  EXPECT_EQ(StoredTokens(*five, "s"), Tokens{1});
  const auto beyond = RedisStore::Open(server_.url(99), "a:1").status();
  EXPECT_EQ(DetailOf(beyond).reason, "STORE");
  EXPECT_THAT(std::string(beyond.message()), HasSubstr("SELECT: ERR DB index is out of range"));

  RedisServer locked({.password = "p:ss/w@rd%"});
  const std::string address = "127.0.0.1:" + std::to_string(locked.port());
  const auto in = OpenAt("redis://:p%3ass%2Fw@rd%25@" + address + "/0", "a:1");
  EXPECT_EQ(in->name(), "redis://" + address + "/0");
  for (const std::string wrong : {"", ":hunter2@", "ann:hunter2@"}) {
    const auto status =
        RedisStore::Open(absl::StrCat("redis://", wrong, address, "/0"), "a:1").status();
    EXPECT_EQ(DetailOf(status).reason, "STORE") << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(wrong.empty() ? "NOAUTH" : "WRONGPASS"));
    EXPECT_EQ(status.ToString().find("hunter2"), std::string::npos) << status;
  }
}

TEST_F(RedisStoreTest, HeldSessionsDoNotExpireNorKeepOthersFromIt) {
  const auto a = Open("a:1"), b = Open("b:1");
  const int kHeld = 1200;  // more than one page
  std::vector<SessionWrite> writes;
  for (int i = 0; i < kHeld + 3; ++i) {
    SessionHolder holder(*a, "s" + std::to_string(i));
    holder.record.metadata.ttl = absl::Microseconds(1 + i);  // those that are held come first
    writes.push_back(holder.WriteOf(0, {i}));
    writes.back().kind = SessionWrite::Kind::kCreate;
  }
  a->Write(writes);
  for (const SessionWrite& write : writes) ASSERT_TRUE(write.status.ok()) << write.status;
  EXPECT_THAT(*a->Expire({}), IsEmpty());  // its own, too, are in use
  for (int i = kHeld; i < kHeld + 3; ++i) LetLapse("s" + std::to_string(i));
  EXPECT_THAT(*b->Expire({}), UnorderedElementsAre("s1200", "s1201", "s1202"));
  EXPECT_TRUE(absl::IsNotFound(b->Load("s1200").status()));
  EXPECT_EQ(b->List("", "", 2000, {})->records.size(), kHeld);
}

// The replica that wrote it is an hour behind, and the one that looks is not.
TEST_F(RedisStoreTest, ASessionsIdleTimeIsNotCountedByReplicasClocks) {
  const auto a = Open("a:1"), b = Open("b:1");
  SessionHolder holder(*a, "s");
  holder.record.metadata.last_use_time = absl::Now() - absl::Hours(1);
  holder.record.metadata.ttl = absl::Minutes(30);
  ASSERT_TRUE(holder.Create({1}).ok());
  ASSERT_TRUE(holder.Release().ok());
  EXPECT_THAT(*b->Expire({}), IsEmpty());
  EXPECT_FALSE(b->Load("s")->record.expired);
  EXPECT_FALSE(b->LoadRecord("s")->expired);
  EXPECT_FALSE(b->List("", "", 1, {})->records[0].expired);
  EXPECT_FALSE(b->Acquire("s", std::nullopt)->record.expired);
}

TEST_F(RedisStoreTest, RoundTripsAndBytesDoNotGrowWithTheSession) {
  RedisLink link(server_.port());
  const auto store = OpenAt(link.url(), "a:1");
  SessionHolder small(*store, "small"), large(*store, "large");
  std::mt19937_64 random(1);
  ASSERT_TRUE(small.Create(testing::RandomTokens(300, random)).ok());
  ASSERT_TRUE(large.Create(testing::RandomTokens(100'300, random)).ok());

  int trips = link.round_trips();
  ASSERT_TRUE(store->Load("large").ok());
  EXPECT_EQ(link.round_trips(), trips + 1);

  // The first append reads a long last run; from then on it is remembered.
  ASSERT_TRUE(small.Append({1}).ok());
  ASSERT_TRUE(large.Append({1}).ok());
  for (int turn = 0; turn < 10; ++turn) {
    const Tokens more = testing::RandomTokens(100, random);
    std::vector<SessionWrite> group = {small.WriteOf(small.tokens.size(), more),
                                       large.WriteOf(large.tokens.size(), more)};
    trips = link.round_trips();
    const auto before = store->counts();
    store->Write(group);
    EXPECT_EQ(link.round_trips(), trips + 1);
    EXPECT_EQ(store->counts().commits, before.commits + 1);
    // Two records, the new tokens and less than kShortRun old ones, at most 3 bytes each.
    EXPECT_LT(store->counts().bytes_written - before.bytes_written,
              2 * (256 + (100 + kShortRun) * 3));
    ASSERT_TRUE(group[0].status.ok() && group[1].status.ok());
    small.Accept(group[0]);
    large.Accept(group[1]);
  }
  EXPECT_EQ(StoredTokens(*store, "large"), large.tokens);
  EXPECT_EQ(StoredTokens(*store, "small"), small.tokens);

  // Many short turns do not make many runs.
  for (int turn = 0; turn < 600; ++turn) ASSERT_TRUE(small.Append({turn}).ok());
  EXPECT_EQ(StoredTokens(*store, "small"), small.tokens);
  EXPECT_LE(std::stoi(server_.Run({"LLEN", "kvasir:s:small:runs"})),
            1 + small.tokens.size() / kShortRun);

  // A cut far in front finds its run in few steps.
  trips = link.round_trips();
  ASSERT_TRUE(large.Change(10, {3}).ok());
  EXPECT_LE(link.round_trips(), trips + 4);
  EXPECT_EQ(StoredTokens(*store, "large"), large.tokens);
}

}  // namespace
}  // namespace kvasir
