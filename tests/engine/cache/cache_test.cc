#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "engine/cache/block_allocator.h"
#include "engine/cache/kv_cache.h"
#include "engine/cache/prefix_index.h"
#include "engine/cache/session_key.h"
#include "engine/cache/session_table.h"

namespace kvasir {
namespace {

std::unique_ptr<Session> MakeSession(const std::string& id, int tokens) {
  auto session = std::make_unique<Session>();
  session->id = id;
  session->tokens.assign(tokens, 1);
  session->committed = tokens;
  return session;
}

// As a step would: K and V of the first `length` tokens computed.
std::vector<BlockCopy> Compute(KvCache& cache, Session& session, size_t length) {
  std::vector<BlockCopy> copies;
  cache.Reserve(session, length, copies);
  session.cached = length;
  return copies;
}

TEST(BlockAllocator, HandsOutEachBlockOnce) {
  BlockAllocator allocator(3);
  EXPECT_EQ(allocator.Allocate(), 0);
  EXPECT_EQ(allocator.Allocate(), 1);
  EXPECT_EQ(allocator.Allocate(), 2);
  EXPECT_EQ(allocator.Allocate(), -1);
  allocator.AddReference(1);
  allocator.Release(1);
  EXPECT_EQ(allocator.free(), 0);
  allocator.Release(1);
  EXPECT_EQ(allocator.free(), 1);
  EXPECT_EQ(allocator.Allocate(), 1);
}

TEST(BlockAllocator, HandsOutWhatIsKeptLast) {
  BlockAllocator allocator(4);
  for (int i = 0; i < 4; ++i) allocator.Allocate();
  allocator.Release(2, /*keep=*/true);
  allocator.Release(0, /*keep=*/true);
  allocator.Release(3);
  allocator.Release(1);
  allocator.AddReference(0);  // asked for again
  EXPECT_EQ(allocator.free(), 3);
  EXPECT_EQ(allocator.Allocate(), 1);
  EXPECT_EQ(allocator.Allocate(), 3);
  EXPECT_EQ(allocator.Allocate(), 2);
  EXPECT_EQ(allocator.Allocate(), -1);
}

PrefixIndex::Tokens Block(const std::vector<int>& tokens) {
  return PrefixIndex::Tokens(tokens.data(), kBlockTokens);
}

TEST(PrefixIndex, FindsWhatIsEqualAndNothingElse) {
  PrefixIndex index(4, /*secret=*/1);
  const std::vector<int> ones(kBlockTokens, 1), twos(kBlockTokens, 2);
  const PrefixIndex::Key root = index.Root("");
  const PrefixIndex::Key one = index.Extend(root, Block(ones));
  index.Insert(3, one, Block(ones));
  EXPECT_EQ(index.Find(one, Block(ones)), 3);
  EXPECT_EQ(index.Find(one, Block(twos)), -1);  // tokens are compared, not only hashes
  EXPECT_EQ(index.Find(index.Extend(index.Root("other"), Block(ones)), Block(ones)), -1);
  EXPECT_EQ(index.Find(index.Extend(one, Block(ones)), Block(ones)), -1);
  EXPECT_FALSE(PrefixIndex(4, 2).Root("") == root);

  index.Insert(0, one, Block(ones));  // a duplicate
  EXPECT_TRUE(index.has_key(0));
  EXPECT_FALSE(index.listed(0));
  index.Erase(0);
  EXPECT_EQ(index.Find(one, Block(ones)), 3);
  index.Erase(3);
  EXPECT_EQ(index.Find(one, Block(ones)), -1);
}

TEST(KvCache, ABlockThatIsWrittenAnewIsNotFoundAsTheOldOne) {
  KvCache cache(10, /*prefix_secret=*/1);
  auto session = MakeSession("a", 32);
  Compute(cache, *session, 32);
  cache.Publish(*session);
  cache.Truncate(*session, 20);
  session->tokens.resize(20);
  session->tokens.resize(33, 7);
  auto early = MakeSession("early", 33);  // the old block is whole as yet
  cache.Adopt(*early, 32);
  EXPECT_EQ(early->cached, 32);
  cache.Truncate(*early, 0);
  Compute(cache, *session, 33);
  auto late = MakeSession("late", 33);
  cache.Adopt(*late, 32);
  EXPECT_EQ(late->cached, 16);
}

TEST(KvCache, ForkingCostsNoBlockAndSpeakingAtMostOne) {
  KvCache cache(100);
  auto source = MakeSession("source", 40);
  Compute(cache, *source, 40);
  const int before = cache.allocator().used();
  auto fork = MakeSession("fork", 40);
  cache.Share(*source, 40, *fork);
  EXPECT_EQ(cache.allocator().used(), before);

  fork->tokens.push_back(2);
  const auto copies = Compute(cache, *fork, 41);
  EXPECT_EQ(cache.allocator().used(), before + 1);
  ASSERT_EQ(copies.size(), 1);  // 40 is within a block
  EXPECT_EQ(copies[0].from, source->blocks.back());
  EXPECT_EQ(copies[0].to, fork->blocks.back());
  EXPECT_NE(source->blocks.back(), fork->blocks.back());
}

TEST(KvCache, AForkAtABlocksEdgeCopiesNothing) {
  KvCache cache(100);
  auto source = MakeSession("source", 64);
  Compute(cache, *source, 64);
  auto fork = MakeSession("fork", 32);
  cache.Share(*source, 32, *fork);
  EXPECT_EQ(fork->blocks.size(), 2);
  EXPECT_TRUE(Compute(cache, *fork, 33).empty());
}

TEST(KvCache, TruncateKeepsTheBlockOfTheLastToken) {
  KvCache cache(100);
  auto session = MakeSession("a", 50);
  Compute(cache, *session, 50);
  EXPECT_EQ(cache.allocator().used(), 4);
  cache.Truncate(*session, 33);
  EXPECT_EQ(session->cached, 33);
  EXPECT_EQ(cache.allocator().used(), 3);
  cache.Truncate(*session, 40);  // more than is cached: nothing to forget
  EXPECT_EQ(session->cached, 33);
  cache.Truncate(*session, 0);
  EXPECT_EQ(cache.allocator().used(), 0);
}

TEST(SessionTable, EvictsTheTailOfTheLeastRecentlyUsedFirst) {
  KvCache cache(6);
  SessionTable table(cache);
  Session& a = table.Insert(MakeSession("a", 48));
  Session& b = table.Insert(MakeSession("b", 48));
  Compute(cache, a, 48);
  Compute(cache, b, 48);
  EXPECT_EQ(cache.allocator().free(), 0);
  EXPECT_TRUE(table.Evict(2));
  EXPECT_EQ(a.cached, 16);
  EXPECT_EQ(b.cached, 48);
  table.Unpin(a);  // used again: b is the oldest now
  EXPECT_TRUE(table.Evict(3));
  EXPECT_EQ(a.cached, 16);
  EXPECT_EQ(b.cached, 32);
}

TEST(SessionTable, NeverEvictsAPinnedSession) {
  KvCache cache(4);
  SessionTable table(cache);
  Session& a = table.Insert(MakeSession("a", 32));
  Session& b = table.Insert(MakeSession("b", 32));
  Compute(cache, a, 32);
  Compute(cache, b, 32);
  table.Pin(a);
  EXPECT_FALSE(table.Evict(3));
  EXPECT_EQ(a.cached, 32);
  EXPECT_EQ(b.cached, 0);
}

TEST(SessionTable, EvictsSharedBlocksWhenNothingElseIsLeft) {
  KvCache cache(4);
  SessionTable table(cache);
  Session& a = table.Insert(MakeSession("a", 64));
  Compute(cache, a, 64);
  Session& fork = table.Insert(MakeSession("fork", 64));
  cache.Share(a, 64, fork);
  EXPECT_TRUE(table.Evict(1));
  EXPECT_TRUE(table.Evict(4));
  EXPECT_EQ(cache.allocator().used(), 0);
}

TEST(SessionTable, ExpiresIdleSessionsOnly) {
  KvCache cache(4);
  SessionTable table(cache);
  const absl::Time now = absl::UnixEpoch() + absl::Hours(1);
  for (const char* id : {"busy", "old", "young"}) {
    Session& session = table.Insert(MakeSession(id, 1));
    session.ttl = absl::Minutes(10);
    session.last_use_time = now - absl::Minutes(id == std::string("young") ? 5 : 15);
    session.busy = id == std::string("busy");
  }
  std::string expired;
  EXPECT_EQ(table.Expire(now, [&](const Session& session) { expired += session.id; }),
            now + absl::Minutes(5));
  EXPECT_EQ(expired, "old");
  EXPECT_EQ(table.Find("old"), nullptr);
  EXPECT_NE(table.Find("busy"), nullptr);
  EXPECT_NE(table.Find("young"), nullptr);
}

TEST(SessionTable, ListsByIdAndLabels) {
  KvCache cache(4);
  SessionTable table(cache);
  for (const char* id : {"c", "a", "b"}) {
    table.Insert(MakeSession(id, 1)).labels = {{"even", id == std::string("b") ? "yes" : "no"}};
  }
  const auto ids = [](const SessionTable::Page& page) {
    std::string all;
    for (const Session* session : page.sessions) all += session->id;
    return all + (page.next.empty() ? "" : " " + page.next);
  };
  EXPECT_EQ(ids(table.List("", "", 10, {})), "abc");
  EXPECT_EQ(ids(table.List("a", "", 1, {})), "b b");
  EXPECT_EQ(ids(table.List("a", "", 2, {})), "bc");
  EXPECT_EQ(ids(table.List("", "c", 10, {})), "ab");
  EXPECT_EQ(ids(table.List("", "c", 2, {})), "ab");
  EXPECT_EQ(ids(table.List("", "", 10, {{"even", "no"}})), "ac");
  EXPECT_EQ(ids(table.List("", "", 10, {{"odd", "no"}})), "");
}

TEST(SessionKey, ATenantsLieTogether) {
  EXPECT_EQ(SessionKey("", "id"), "id");
  EXPECT_EQ(IdOfKey("id"), "id");
  EXPECT_EQ(IdOfKey(""), "");
  EXPECT_EQ(IdOfKey(SessionKey("anna", "i.d_-9")), "i.d_-9");
  const std::vector<std::string> tenants = {"", "-", "0", "ann", "ann.a", "ann0", "anna", "z"};
  const std::vector<std::string> ids = {"-", ".", "0", "Z", "_", "a", "zzz"};
  for (const std::string& tenant : tenants) {
    for (const std::string& other : tenants) {
      for (const std::string& id : ids) {
        const std::string key = SessionKey(other, id);
        const bool within = SessionKey(tenant, "") < key && key < EndOfKeys(tenant);
        EXPECT_EQ(within, tenant == other) << tenant << " " << key;
      }
    }
  }
}

TEST(SessionTable, LooksAtSoManyForAPage) {
  KvCache cache(4);
  SessionTable table(cache);
  std::string last;
  for (size_t i = 0; i < kMostExamined + 10; ++i) {
    last = std::to_string(1'000'000 + i);
    table.Insert(MakeSession(last, 1));
  }
  table.Find(last)->labels = {{"rare", "yes"}};
  const auto first = table.List("", "", 10, {{"rare", "yes"}});
  EXPECT_TRUE(first.sessions.empty());
  EXPECT_EQ(first.next, std::to_string(1'000'000 + kMostExamined - 1));
  EXPECT_EQ(table.List(first.next, "", 10, {{"rare", "yes"}}).sessions.size(), 1);
}

// Random sharing, growing, cutting and eviction: every reference is accounted for at every moment.
TEST(KvCache, CountsEveryReference) {
  std::mt19937 random(17);
  KvCache cache(40);
  SessionTable table(cache);
  std::vector<Session*> sessions;
  for (int i = 0; i < 20000; ++i) {
    Session* session = sessions.empty() ? nullptr : sessions[random() % sessions.size()];
    switch (random() % 6) {
      case 0:
        if (sessions.size() < 12) {
          sessions.push_back(&table.Insert(MakeSession(std::to_string(i), random() % 200)));
        }
        break;
      case 1:
        if (session != nullptr && sessions.size() < 12) {
          const size_t length = random() % (session->tokens.size() + 1);
          Session& fork = table.Insert(MakeSession(std::to_string(i), static_cast<int>(length)));
          cache.Share(*session, length, fork);
          sessions.push_back(&fork);
        }
        break;
      case 2:
        if (session != nullptr) cache.Truncate(*session, random() % (session->cached + 1));
        break;
      case 3:
        if (session != nullptr) {
          const size_t length =
              session->cached + random() % (session->tokens.size() - session->cached + 1);
          table.Pin(*session);
          if (table.Evict(cache.BlocksToReserve(*session, length))) {
            Compute(cache, *session, length);
          }
          table.Unpin(*session);
        }
        break;
      case 4:
        table.Evict(static_cast<int>(random() % 10));
        break;
      default:
        if (session != nullptr && random() % 4 == 0) {
          std::erase(sessions, session);
          table.Erase(*session);
        }
    }
    std::map<int, int> references;
    for (const Session* s : sessions) {
      ASSERT_EQ(s->blocks.size(), KvCache::BlocksFor(s->cached));
      for (int block : s->blocks) ++references[block];
    }
    ASSERT_EQ(cache.allocator().used(), references.size());
    for (const auto& [block, count] : references) {
      ASSERT_EQ(cache.allocator().references(block), count);
    }
  }
}

}  // namespace
}  // namespace kvasir
