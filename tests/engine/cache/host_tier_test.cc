#include "engine/cache/host_tier.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <random>
#include <string>
#include <vector>

#include "engine/cache/kv_cache.h"

namespace kvasir {
namespace {

constexpr uint64_t kSecret = 3;

// A full block: one of a few contents behind one of a few prefixes.
struct Content {
  PrefixIndex::Key key;
  std::vector<int> tokens;

  PrefixIndex::Tokens span() const { return PrefixIndex::Tokens(tokens.data(), kBlockTokens); }
};

Content MakeContent(int number) {
  const PrefixIndex index(1, kSecret);
  Content content = {{}, std::vector<int>(kBlockTokens, number)};
  content.key = index.Extend(index.Root(""), content.span());
  return content;
}

TEST(HostTier, TheLeastRecentlyUsedGivesWay) {
  HostTier tier(2);
  const Content a = MakeContent(1), b = MakeContent(2), c = MakeContent(3);
  EXPECT_EQ(tier.Find(a.key, a.span()), -1);
  const int first = tier.Add(a.key, a.span());
  const int second = tier.Add(b.key, b.span());
  EXPECT_EQ(tier.Find(a.key, a.span()), first);
  EXPECT_EQ(tier.Find(b.key, b.span()), second);
  EXPECT_EQ(tier.Add(a.key, a.span()), -1) << "it is there already, and used now";
  EXPECT_EQ(tier.Add(c.key, c.span()), second);
  EXPECT_EQ(tier.Find(b.key, b.span()), -1);
  EXPECT_EQ(tier.Find(a.key, c.span()), -1) << "tokens are compared, not only hashes";
  tier.Clear();
  EXPECT_EQ(tier.Find(a.key, a.span()), -1);
  EXPECT_GE(tier.Add(a.key, a.span()), 0);
}

TEST(HostTier, WhatIsHeldStays) {
  HostTier tier(1);
  const Content a = MakeContent(1), b = MakeContent(2);
  const int block = tier.Add(a.key, a.span());
  tier.Hold(block);
  EXPECT_EQ(tier.Add(b.key, b.span()), -1);
  EXPECT_EQ(tier.Find(a.key, a.span()), block);
  tier.Release(block);
  EXPECT_EQ(tier.Add(b.key, b.span()), block);
}

// Against a list, the most recently used at its end.
TEST(HostTier, DoesAsAListDoes) {
  constexpr int kBlocks = 7;
  constexpr int kContents = 20;
  std::mt19937 random(5);
  HostTier tier(kBlocks);
  std::vector<Content> contents;
  for (int i = 0; i < kContents; ++i) contents.push_back(MakeContent(i));
  std::list<int> expected;               // contents
  std::vector<int> copies(kBlocks, -1);  // what lies in each block
  for (int step = 0; step < 20000; ++step) {
    const int i = static_cast<int>(random() % kContents);
    const Content& content = contents[i];
    const bool held = std::find(expected.begin(), expected.end(), i) != expected.end();
    const int found = tier.Find(content.key, content.span());
    ASSERT_EQ(found >= 0, held);
    if (held) {
      ASSERT_EQ(copies[found], i);
    }
    if (random() % 2 == 0 && held) {  // restored
      tier.Hold(found);
      tier.Release(found);
    } else {
      const int block = tier.Add(content.key, content.span());
      ASSERT_EQ(block >= 0, !held);
      if (block >= 0) copies[block] = i;
    }
    expected.remove(i);
    expected.push_back(i);
    if (expected.size() > kBlocks) expected.pop_front();
  }
}

// --- with the pool ------------------------------------------------------------------------------

Session MakeSession(const std::string& tenant, int tokens, int token) {
  Session session;
  session.tenant = tenant;
  session.tokens.assign(tokens, token);
  session.committed = tokens;
  return session;
}

// As a step would: K and V of all tokens computed.
std::vector<BlockCopy> Compute(KvCache& cache, Session& session) {
  std::vector<BlockCopy> copies;
  cache.Reserve(session, session.tokens.size(), copies);
  session.cached = session.tokens.size();
  cache.Publish(session);
  return copies;
}

std::vector<int> Sources(const std::vector<BlockCopy>& copies, BlockCopy::Way way) {
  std::vector<int> blocks;
  for (const BlockCopy& copy : copies) {
    if (copy.way == way) blocks.push_back(copy.from);
  }
  return blocks;
}

TEST(KvCacheWithHost, WhatIsOverwrittenIsSavedAndComesBack) {
  KvCache cache(4, kSecret, /*host_blocks=*/8);
  Session old = MakeSession("", 50, 1);  // three full blocks, and two tokens
  EXPECT_TRUE(Compute(cache, old).empty());
  const std::vector<int> blocks = old.blocks;
  cache.Truncate(old, 0);
  EXPECT_EQ(cache.saved_blocks(), 0) << "as long as nobody needs the room it costs nothing";

  Session young = MakeSession("", 64, 2);
  const std::vector<BlockCopy> saves = Compute(cache, young);
  std::vector<int> saved = Sources(saves, BlockCopy::Way::kToHost);
  EXPECT_EQ(saved.size(), saves.size());
  std::sort(saved.begin(), saved.end());
  EXPECT_EQ(saved, std::vector<int>(blocks.begin(), blocks.begin() + 3));

  cache.Truncate(young, 0);
  std::vector<BlockCopy> copies;
  cache.Adopt(old, 49);
  EXPECT_EQ(old.cached, 0) << "adopting brings nothing back";
  cache.Restore(old, 49, copies);
  EXPECT_EQ(old.cached, 48);
  EXPECT_EQ(cache.restored_blocks(), 3);
  EXPECT_EQ(Sources(copies, BlockCopy::Way::kFromHost).size(), 3);
  EXPECT_EQ(Sources(copies, BlockCopy::Way::kToHost).size(), 3) << "the young one's";

  // It is there twice now: to make room costs no second copy.
  cache.Truncate(old, 0);
  Session third = MakeSession("", 64, 3);
  const std::vector<BlockCopy> again = Compute(cache, third);
  EXPECT_EQ(Sources(again, BlockCopy::Way::kToHost).size(), 1) << "the young one's last";
}

TEST(KvCacheWithHost, RestoresNoFurtherThanAskedAndNoMoreThanIsFree) {
  KvCache cache(4, kSecret, 8);
  Session old = MakeSession("", 64, 1);
  Compute(cache, old);
  cache.Truncate(old, 0);
  Session young = MakeSession("", 64, 2);
  Compute(cache, young);
  std::vector<BlockCopy> copies;
  cache.Restore(old, 64, copies);
  EXPECT_EQ(old.cached, 0) << "nothing is free";
  EXPECT_TRUE(copies.empty());
  cache.DropTail(young);
  cache.DropTail(young);
  cache.Restore(old, 64, copies);
  EXPECT_EQ(old.cached, 32);
  cache.Truncate(young, 0);
  cache.Restore(old, 63, copies);
  EXPECT_EQ(old.cached, 48);
}

TEST(KvCacheWithHost, TenantsFindTheirOwnOnly) {
  KvCache cache(2, kSecret, 8);
  Session mine = MakeSession("a", 32, 1);
  Compute(cache, mine);
  cache.Truncate(mine, 0);
  Session filler = MakeSession("c", 32, 2);
  Compute(cache, filler);
  cache.Truncate(filler, 0);
  std::vector<BlockCopy> copies;
  Session theirs = MakeSession("b", 32, 1);
  cache.Restore(theirs, 32, copies);
  EXPECT_EQ(theirs.cached, 0);
  cache.Restore(mine, 32, copies);
  EXPECT_EQ(mine.cached, 32);
}

TEST(KvCacheWithHost, WhatIsForgottenDoesNotComeBack) {
  KvCache cache(2, kSecret, 8);
  Session session = MakeSession("", 32, 1);
  Compute(cache, session);
  cache.Truncate(session, 0);
  Session other = MakeSession("", 32, 2);
  Compute(cache, other);
  cache.Truncate(other, 0);
  cache.ForgetPublished();
  std::vector<BlockCopy> copies;
  cache.Restore(session, 32, copies);
  EXPECT_EQ(session.cached, 0);
  EXPECT_TRUE(copies.empty());
}

// A session that goes back into a full block and on differently keeps the old branch.
TEST(KvCacheWithHost, ABranchThatIsLeftIsSaved) {
  KvCache cache(4, kSecret, 8);
  Session session = MakeSession("", 32, 1);
  Compute(cache, session);
  Session before = MakeSession("", 32, 1);
  cache.Truncate(session, 20);
  session.tokens.resize(20);
  session.tokens.resize(30, 7);
  EXPECT_EQ(Sources(Compute(cache, session), BlockCopy::Way::kToHost),
            std::vector<int>{session.blocks[1]});
  std::vector<BlockCopy> copies;
  cache.Restore(before, 32, copies);
  EXPECT_EQ(before.cached, 32);
  EXPECT_EQ(before.blocks[0], session.blocks[0]);
  EXPECT_NE(before.blocks[1], session.blocks[1]);
}

}  // namespace
}  // namespace kvasir
