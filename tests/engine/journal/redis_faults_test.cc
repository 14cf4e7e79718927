// What becomes of sessions in Redis when Redis, the way to it, or what lies in it fails.
#include <atomic>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/error.h"
#include "engine/journal/redis_store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/journal/random_sessions.h"
#include "tests/engine/journal/redis_link.h"
#include "tests/engine/journal/redis_server.h"
#include "tests/engine/journal/session_holder.h"

namespace kvasir {
namespace {

using ::testing::HasSubstr;
using testing::RedisLink;
using testing::RedisServer;
using testing::SessionHolder;

using Tokens = std::vector<int>;

std::unique_ptr<RedisStore> Open(const std::string& url, const std::string& owner = "a:1") {
  auto store = RedisStore::Open(url, owner, absl::Minutes(10));
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

Tokens StoredTokens(RedisStore& store, const std::string& id) {
  auto session = store.Load(id);
  EXPECT_TRUE(session.ok()) << session.status();
  return session.ok() ? session->tokens : Tokens{-1};
}

TEST(RedisFaults, AWriteWhoseReplyIsLostHappensOnce) {
  RedisServer server;
  RedisLink link(server.port());
  const auto store = Open(link.url());
  SessionHolder holder(*store, "s");
  link.LoseNextReply();
  ASSERT_TRUE(holder.Create({1}).ok());
  link.LoseNextReply();
  ASSERT_TRUE(holder.Append({2}).ok());
  ASSERT_TRUE(holder.Append({3}).ok());
  EXPECT_EQ(StoredTokens(*store, "s"), (Tokens{1, 2, 3}));
  SessionHolder again(*store, "s");
  EXPECT_TRUE(absl::IsAlreadyExists(again.Create({1})));
  link.LoseNextReply();
  ASSERT_TRUE(holder.Delete().ok());
  EXPECT_TRUE(absl::IsNotFound(store->Load("s").status()));
  EXPECT_TRUE(absl::IsAborted(holder.Delete()));
}

// What another replica did between a write and its repetition.
class RepetitionTest : public ::testing::Test {
 protected:
  RepetitionTest() : store_(Open(link_.url())), other_(Open(server_.url(), "b:1")) {}

  // The status of `write` by the first store, whose connection breaks after it has happened and
  // comes back after `meanwhile`.
  template <typename Write, typename Meanwhile>
  absl::Status Interrupted(Write write, Meanwhile meanwhile) {
    absl::Status status;
    link_.LoseNextReplyAndShut();
    std::thread writer([&] { status = write(); });
    link_.AwaitShut();
    server_.Run({"HSET", "kvasir:s:s:record", "lease_until", "1"});
    meanwhile();
    link_.Open();
    writer.join();
    return status;
  }

  RedisServer server_;
  RedisLink link_{server_.port()};
  std::unique_ptr<RedisStore> store_, other_;
  SessionHolder holder_{*store_, "s"}, taker_{*other_, "s"};
};

TEST_F(RepetitionTest, ACreationThatOthersTookOverHasHappenedUnderItsOwnFence) {
  ASSERT_TRUE(
      Interrupted([&] { return holder_.Create({1}); }, [&] { ASSERT_TRUE(taker_.Acquire().ok()); })
          .ok());
  EXPECT_LT(holder_.fence, taker_.fence);
  EXPECT_TRUE(absl::IsAborted(holder_.Append({2})));
  EXPECT_TRUE(taker_.Append({3}).ok());
}

TEST_F(RepetitionTest, AWriteThatOthersTookOverHasHappened) {
  ASSERT_TRUE(holder_.Create({1}).ok());
  ASSERT_TRUE(
      Interrupted([&] { return holder_.Append({2}); }, [&] { ASSERT_TRUE(taker_.Acquire().ok()); })
          .ok());
  EXPECT_EQ(taker_.tokens, (Tokens{1, 2}));
  EXPECT_TRUE(absl::IsAborted(holder_.Append({3})));
}

TEST_F(RepetitionTest, AWriteThatOthersWroteBehindIsNotSaidToBeRefused) {
  ASSERT_TRUE(holder_.Create({1}).ok());
  const auto status = Interrupted([&] { return holder_.Append({2}); },
                                  [&] {
                                    ASSERT_TRUE(taker_.Acquire().ok());
                                    ASSERT_TRUE(taker_.Append({3}).ok());
                                  });
  EXPECT_EQ(DetailOf(status).reason, "STORE") << status;
  EXPECT_EQ(StoredTokens(*store_, "s"), (Tokens{1, 2, 3}));
}

TEST(RedisFaults, OtherCallsAreRepeatedToo) {
  RedisServer server;
  RedisLink link(server.port());
  const auto store = Open(link.url());
  SessionHolder holder(*store, "s");
  holder.record.metadata.ttl = absl::Microseconds(1);
  ASSERT_TRUE(holder.Create({1}).ok());
  link.LoseNextReply();
  ASSERT_TRUE(holder.Acquire().ok());
  link.LoseNextReply();
  EXPECT_EQ(store->List("", "", 10, {})->records.size(), 1);
  link.LoseNextReply();
  EXPECT_EQ(store->LoadRecord("s")->length, 1);
  link.LoseNextReply();
  const SessionStore::Lease lease = {"s", holder.fence};
  EXPECT_TRUE(store->Renew({&lease, 1})->empty());
  link.LoseNextReply();
  ASSERT_TRUE(holder.Append({2}).ok());
  ASSERT_TRUE(holder.Release().ok());
  EXPECT_EQ(store->Expire({})->size(), 1);
}

TEST(RedisFaults, AWriteThatArrivesAfterItsRepetitionOrAnAcquireDoesNothing) {
  RedisServer server;
  RedisLink link(server.port());
  const auto store = Open(link.url());
  SessionHolder holder(*store, "s");
  ASSERT_TRUE(holder.Create({1}).ok());

  link.HoldNextRequest();
  ASSERT_TRUE(holder.Append({2}).ok());  // the store repeats it on a new connection
  link.DeliverHeld();
  EXPECT_EQ(StoredTokens(*store, "s"), (Tokens{1, 2}));
  ASSERT_TRUE(holder.Append({3}).ok());

  link.HoldNextRequest();
  ASSERT_TRUE(holder.Append({4}).ok());
  ASSERT_TRUE(holder.Append({5}).ok());
  link.DeliverHeld();
  EXPECT_EQ(StoredTokens(*store, "s"), (Tokens{1, 2, 3, 4, 5}));
}

TEST(RedisFaults, AHangingRedisIsUnavailableAndWhatItDidLaterShowsAtTheNextAcquire) {
  RedisServer server;
  const auto store = Open(server.url());
  SessionHolder holder(*store, "s");
  ASSERT_TRUE(holder.Create({1}).ok());
  server.Pause();
  const auto hung = holder.Append({2});
  EXPECT_EQ(DetailOf(hung).reason, "STORE");
  EXPECT_THAT(std::string(hung.message()), HasSubstr("no answer within"));
  server.Continue();
  ASSERT_TRUE(holder.Acquire().ok());
  EXPECT_THAT(holder.tokens, ::testing::AnyOf(Tokens{1}, (Tokens{1, 2})));
  Tokens expected = holder.tokens;
  ASSERT_TRUE(holder.Append({3}).ok());
  expected.push_back(3);
  EXPECT_EQ(StoredTokens(*store, "s"), expected);
}

TEST(RedisFaults, NothingIsLostOrDoubledThroughOutages) {
  RedisServer server;
  const auto store = Open(server.url());
  constexpr int kSessions = 4;
  std::vector<SessionHolder> holders;
  for (int i = 0; i < kSessions; ++i) {
    holders.emplace_back(*store, absl::StrCat("s", i));
    ASSERT_TRUE(holders.back().Create().ok());
  }
  int failures = 0;
  // Appends to each session the number of its tokens, all in one group.
  const auto append = [&] {
    std::vector<SessionWrite> group;
    for (const SessionHolder& holder : holders) {
      const int next = static_cast<int>(holder.tokens.size());
      group.push_back(holder.WriteOf(next, {next}));
    }
    store->Write(group);
    for (int i = 0; i < kSessions; ++i) {
      if (group[i].status.ok()) {
        holders[i].Accept(group[i]);
        continue;
      }
      ++failures;
      EXPECT_EQ(DetailOf(group[i].status).reason, "STORE") << group[i].status;
      const size_t acknowledged = holders[i].tokens.size();
      while (!holders[i].Acquire().ok()) server.Start();
      EXPECT_GE(holders[i].tokens.size(), acknowledged);
      EXPECT_LE(holders[i].tokens.size(), acknowledged + 1);
    }
  };
  // Short enough to be waited for.
  for (int outage = 0; outage < 3; ++outage) {
    std::atomic<bool> is_back = false;
    std::thread load([&] {
      while (!is_back) append();
    });
    absl::SleepFor(absl::Milliseconds(50));
    server.Kill();
    absl::SleepFor(absl::Milliseconds(500));
    server.Start();
    is_back = true;
    load.join();
  }
  EXPECT_EQ(failures, 0);
  // Too long.
  server.Kill();
  append();
  EXPECT_EQ(failures, kSessions);
  for (int i = 0; i < 10; ++i) append();
  for (const SessionHolder& holder : holders) {
    const Tokens stored = StoredTokens(*store, holder.id());
    EXPECT_EQ(stored, holder.tokens);
    for (size_t i = 0; i < stored.size(); ++i) ASSERT_EQ(stored[i], i);
    EXPECT_GT(stored.size(), 20);
  }
}

// Operations wait in a queue: patience with each would be added up.
TEST(RedisFaults, OnceGivenUpRedisIsTriedOnceForEachOperationUntilItIsBack) {
  RedisServer server;
  RedisLink link(server.port());
  const auto store = Open(link.url());
  SessionHolder holder(*store, "s");
  ASSERT_TRUE(holder.Create({1}).ok());
  server.Kill();
  EXPECT_EQ(DetailOf(store->Load("s").status()).reason, "STORE");
  const int tried = link.connections();
  EXPECT_GE(tried, 3);
  for (int i = 1; i <= 5; ++i) {
    EXPECT_EQ(DetailOf(store->Load("s").status()).reason, "STORE");
    EXPECT_EQ(link.connections(), tried + i);
  }
  server.Start();
  EXPECT_EQ(StoredTokens(*store, "s"), Tokens{1});
  EXPECT_TRUE(holder.Append({2}).ok());
}

TEST(RedisFaults, ForgottenScriptsAreLoadedAgain) {
  RedisServer server;
  const auto store = Open(server.url());
  SessionHolder holder(*store, "s");
  ASSERT_TRUE(holder.Create({1}).ok());
  server.Run({"SCRIPT", "FLUSH"});
  EXPECT_TRUE(holder.Append({2}).ok());
  EXPECT_EQ(StoredTokens(*store, "s"), (Tokens{1, 2}));
}

TEST(RedisFaults, AFullRedisRefusesWholeWritesAndGoesOnWhenThereIsRoom) {
  RedisServer server;
  const auto store = Open(server.url());
  SessionHolder holder(*store, "s"), other(*store, "other");
  ASSERT_TRUE(holder.Create(Tokens(500, 7)).ok());
  ASSERT_TRUE(other.Create({1}).ok());
  server.Run({"CONFIG", "SET", "maxmemory", "1"});
  for (const auto& status : {holder.Append({2}), holder.Change(3, {4})}) {
    EXPECT_EQ(DetailOf(status).reason, "STORE") << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("OOM"));
  }
  EXPECT_EQ(StoredTokens(*store, "s"), Tokens(500, 7));
  EXPECT_TRUE(other.Delete().ok());  // which makes room
  server.Run({"CONFIG", "SET", "maxmemory", "0"});
  EXPECT_TRUE(holder.Append({2}).ok());
}

TEST(RedisFaults, AReplicaOfRedisTakesNoWrites) {
  RedisServer server, primary;
  const auto store = Open(server.url());
  SessionHolder holder(*store, "s");
  ASSERT_TRUE(holder.Create({1}).ok());
  server.Run({"CONFIG", "SET", "replica-serve-stale-data", "yes"});
  primary.Kill();  // it has no data to give
  server.Run({"REPLICAOF", "127.0.0.1", std::to_string(primary.port())});
  const auto status = holder.Append({2});
  EXPECT_EQ(DetailOf(status).reason, "STORE") << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("READONLY"));
  server.Run({"REPLICAOF", "NO", "ONE"});
  EXPECT_TRUE(holder.Append({2}).ok());
}

TEST(RedisFaults, TellsWhatRedisMayLose) {
  const auto warning = [](std::vector<std::string> arguments) {
    RedisServer server({.arguments = std::move(arguments)});
    return Open(server.url())->warning();
  };
  EXPECT_EQ(warning({}), "");
  EXPECT_THAT(warning({"--appendonly", "no"}),
              HasSubstr("may be lost when Redis or its machine stops: appendonly is no"));
  EXPECT_THAT(warning({"--appendfsync", "everysec"}),
              ::testing::AllOf(HasSubstr("appendfsync everysec"),
                               HasSubstr("set appendonly yes and appendfsync always")));
  EXPECT_THAT(warning({"--maxmemory-policy", "allkeys-lru"}),
              ::testing::AllOf(HasSubstr("allkeys-lru"), HasSubstr("set it to noeviction")));
  EXPECT_THAT(warning({"--rename-command", "CONFIG", ""}), HasSubstr("does not permit CONFIG GET"));
}

TEST(RedisFaults, ARedisThatIsNotThereIsNamedWithoutItsPassword) {
  const int port = testing::FreePort();
  const auto status =
      OpenRedisStore(absl::StrCat("redis://:hunter2@127.0.0.1:", port, "/0"), "a:1").status();
  EXPECT_EQ(DetailOf(status).reason, "STORE");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("redis://127.0.0.1:", port, "/0: Connection refused")));
}

}  // namespace
}  // namespace kvasir
