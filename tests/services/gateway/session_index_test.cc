// Which session a conversation goes on in.
#include "services/gateway/session_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

namespace kvasir::gateway {
namespace {

using ::testing::IsEmpty;

constexpr uint32_t kEnd = 4;

// a, b, ab, two bytes of one character, and what ends a message, which has a text of its own.
TokenTable Table() {
  const std::vector<std::string> bytes = {"a", "b", "ab", "\xC3", "<end>", "<", "end>", "\xA9"};
  const std::vector<TokenTable::Added> added = {{kEnd, true}};
  return {bytes, added};
}

std::pair<size_t, size_t> Common(const TokenIds& held, const TokenIds& wanted) {
  const TokenTable table = Table();
  const CommonPart common = FindCommonPart(table, held, wanted);
  return {common.held, common.wanted};
}

TEST(FindCommonPartTest, TextCountsNotHowItWasCut) {
  using Pair = std::pair<size_t, size_t>;
  EXPECT_EQ(Common({}, {0}), Pair(0, 0));
  EXPECT_EQ(Common({0, 1, 2}, {0, 1, 2}), Pair(3, 3));
  EXPECT_EQ(Common({0, 1, 0}, {2, 0, 1}), Pair(3, 2));
  EXPECT_EQ(Common({2, 2}, {0, 1, 0, 1}), Pair(2, 4));
  EXPECT_EQ(Common({2}, {0, 0}), Pair(0, 0)) << "ab is not aa";
  EXPECT_EQ(Common({0, 2}, {0, 0}), Pair(1, 1));
  EXPECT_EQ(Common({2}, {0}), Pair(0, 0)) << "a token is kept whole or not at all";
  EXPECT_EQ(Common({3, 7, 0}, {3, 7, 1}), Pair(2, 2));
  EXPECT_EQ(Common({0, 100}, {0, 101}), Pair(1, 1)) << "ids without a text";
}

TEST(FindCommonPartTest, WhatIsSpelledLikeAnAddedTokenIsNone) {
  EXPECT_EQ(Common({0, kEnd}, {0, 5, 6}), std::make_pair(size_t{1}, size_t{1}));
  EXPECT_EQ(Common({0, 5, 6}, {0, kEnd}), std::make_pair(size_t{1}, size_t{1}));
  EXPECT_EQ(Common({0, kEnd, 2}, {0, kEnd, 0, 1}), std::make_pair(size_t{3}, size_t{4}));
}

// Long enough to be worth a fork.
TokenIds Long(uint32_t last) {
  TokenIds ids(SessionIndex::kLeastShared, 0);
  ids.push_back(kEnd);
  ids.push_back(last);
  return ids;
}

class SessionIndexTest : public ::testing::Test {
 protected:
  std::vector<SessionIndex::Session> Add(const SessionIndex::Session& session, TokenIds ids) {
    EXPECT_TRUE(index_.Claim(session));
    return index_.Put(table_, session, std::move(ids));
  }
  static TokenIds Plus(TokenIds ids, const TokenIds& more) {
    ids.insert(ids.end(), more.begin(), more.end());
    return ids;
  }

  const TokenTable table_ = Table();
  SessionIndex index_{3};
};

TEST_F(SessionIndexTest, GoesOnWhereTheConversationEnded) {
  Add({"anna", "one"}, Long(0));
  Add({"anna", "two"}, Plus(Long(1), {kEnd}));
  const auto found = index_.Find(table_, "anna", Plus(Long(1), {kEnd, 0, kEnd}));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->session.id, "two");
  EXPECT_TRUE(found->taken);
  EXPECT_EQ(found->common.held, Long(1).size() + 1);
}

TEST_F(SessionIndexTest, OneThatIsTakenIsOnlyForked) {
  Add({"anna", "one"}, Long(0));
  const TokenIds wanted = Plus(Long(0), {1});
  EXPECT_TRUE(index_.Find(table_, "anna", wanted)->taken);
  const auto second = index_.Find(table_, "anna", wanted);
  ASSERT_TRUE(second.has_value());
  EXPECT_FALSE(second->taken);
  EXPECT_EQ(second->common.held, Long(0).size());
  index_.Put(table_, {"anna", "one"}, Plus(Long(0), {1, kEnd}));
  EXPECT_TRUE(index_.Find(table_, "anna", Plus(Long(0), {1, kEnd, 0}))->taken);
}

TEST_F(SessionIndexTest, OneThatHoldsMoreIsForkedAtTheCommonPart) {
  Add({"anna", "one"}, Plus(Long(0), {kEnd, 0, 0}));
  const auto found = index_.Find(table_, "anna", Plus(Long(0), {kEnd, 1}));
  ASSERT_TRUE(found.has_value());
  EXPECT_FALSE(found->taken);
  EXPECT_EQ(found->common.held, Long(0).size() + 1);
  EXPECT_FALSE(index_.Find(table_, "anna", {0, 0, kEnd, 1}).has_value());
}

TEST_F(SessionIndexTest, TenantsFindOnlyTheirOwn) {
  Add({"anna", "one"}, Long(0));
  EXPECT_FALSE(index_.Find(table_, "bert", Long(0)).has_value());
  EXPECT_FALSE(index_.Find(table_, "", Long(0)).has_value());
  bool busy = false;
  EXPECT_FALSE(index_.Take(table_, "bert", "one", Long(0), busy).has_value());
  EXPECT_FALSE(busy);
  EXPECT_TRUE(index_.Claim({"bert", "one"})) << "the same name";
}

TEST_F(SessionIndexTest, TheOneUnusedForLongestFallsOut) {
  Add({"anna", "one"}, Long(0));
  Add({"anna", "named", /*ours=*/false}, Long(1));
  Add({"anna", "three"}, Long(2));
  (void)index_.Find(table_, "anna", Long(0));
  index_.Put(table_, {"anna", "one"}, Long(0));
  EXPECT_THAT(Add({"anna", "four"}, Long(3)), IsEmpty()) << "it is the client's, and stays there";
  const auto fell_out = Add({"anna", "five"}, Long(7));
  ASSERT_EQ(fell_out.size(), 1);
  EXPECT_EQ(fell_out[0].id, "three");
  EXPECT_EQ(index_.size(), 3);
}

TEST_F(SessionIndexTest, OneThatIsInUseDoesNotFallOut) {
  ASSERT_TRUE(index_.Claim({"anna", "busy"}));
  for (int i = 0; i < 6; ++i) Add({"anna", std::to_string(i)}, Long(1));
  EXPECT_FALSE(index_.Claim({"anna", "busy"}));
  EXPECT_THAT(index_.Put(table_, {"anna", "busy"}, Long(0)), IsEmpty());
  EXPECT_EQ(index_.size(), 3);
}

TEST_F(SessionIndexTest, IsThreadSafe) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      std::minstd_rand random(static_cast<unsigned>(t));
      for (int i = 0; i < 500; ++i) {
        const TokenIds wanted =
            Plus(Long(random() % 2), {kEnd, static_cast<uint32_t>(random() % 2)});
        const auto found = index_.Find(table_, "anna", wanted);
        const bool taken = found.has_value() && found->taken;
        const SessionIndex::Session session =
            taken ? found->session
                  : SessionIndex::Session{"anna", std::to_string(t) + "." + std::to_string(i)};
        EXPECT_TRUE(taken || index_.Claim(session));
        if (random() % 8 == 0) {
          index_.Drop(session);
        } else {
          index_.Put(table_, session, wanted);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(index_.size(), 3);
}

}  // namespace
}  // namespace kvasir::gateway
