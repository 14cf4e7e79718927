// What every store promises (engine/journal/session_store.h).
#include "engine/journal/session_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/error.h"
#include "engine/journal/record_codec.h"
#include "tests/engine/journal/random_sessions.h"
#include "tests/engine/journal/session_store_testing.h"

namespace kvasir {
namespace {

using testing::Difference;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::RandomRecord;
using testing::RandomTokens;
using testing::Record;
using testing::SessionStoreTest;
using Kind = SessionWrite::Kind;

TEST_P(SessionStoreTest, AllOfASessionOutlivesTheProcess) {
  std::mt19937_64 random(1);
  SessionRecord record = RandomRecord("a", random);
  const SessionWrite created = Write(Creation(record, {1, 2, 151935}));
  ASSERT_TRUE(created.status.ok()) << created.status;
  EXPECT_GT(created.new_fence, 0);
  record.length = 3;
  record.version = 1;
  fixture().Reopen();
  const auto loaded = store().Load("a");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(Difference(loaded->record, record), "");
  EXPECT_THAT(loaded->tokens, ElementsAre(1, 2, 151935));
  const auto owned = store().Acquire("a", std::nullopt);
  ASSERT_TRUE(owned.ok()) << owned.status();
  EXPECT_EQ(Difference(owned->record, record), "");
  EXPECT_THAT(owned->tokens.value(), ElementsAre(1, 2, 151935));
  EXPECT_GT(owned->fence, 0);
}

TEST_P(SessionStoreTest, TokensAreNotReadForAVersionThatIsKnown) {
  Create("a", {1, 2});
  EXPECT_FALSE(store().Acquire("a", 1)->tokens.has_value());
  EXPECT_TRUE(store().Acquire("a", 2)->tokens.has_value());
  EXPECT_TRUE(store().Acquire("a", std::nullopt)->tokens.has_value());
}

TEST_P(SessionStoreTest, WhatIsNotThereIsNotFound) {
  for (const absl::Status& status :
       {store().Acquire("a", std::nullopt).status(), store().Load("a").status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
    EXPECT_EQ(DetailOf(status).reason, "SESSION_NOT_FOUND");
  }
  for (Kind kind : {Kind::kUpdate, Kind::kDelete}) {
    SessionWrite write = Creation(Record("a"));
    write.kind = kind;
    write.fence = 1;
    for (uint64_t version : {0, 1}) {
      write.record.version = version;
      EXPECT_EQ(Write(write).status.code(), absl::StatusCode::kAborted);
    }
  }
}

TEST_P(SessionStoreTest, ATakenIdIsNotCreatedAgain) {
  Create("a", {1});
  EXPECT_EQ(Write(Creation(Record("a"), {2})).status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(TokensOf("a"), ElementsAre(1));
}

TEST_P(SessionStoreTest, AWriteToAnotherVersionChangesNothing) {
  const Fence fence = Create("a", {1, 2, 3});
  for (Kind kind : {Kind::kUpdate, Kind::kDelete}) {
    for (uint64_t version : {0, 2, 77}) {
      SessionWrite write = Change(kind, "a", fence, 1, {9});
      write.record.version = version;
      EXPECT_EQ(Write(write).status.code(), absl::StatusCode::kAborted) << version;
    }
  }
  EXPECT_THAT(TokensOf("a"), ElementsAre(1, 2, 3));
  EXPECT_EQ(store().Load("a")->record.version, 1);
}

TEST_P(SessionStoreTest, EveryWriteMakesTheVersionOneMore) {
  const Fence fence = Create("a");
  for (uint64_t version = 2; version < 10; ++version) {
    ASSERT_TRUE(Write(Change(Kind::kUpdate, "a", fence)).status.ok());
    EXPECT_EQ(store().Load("a")->record.version, version);
  }
}

TEST_P(SessionStoreTest, TokensAreKeptCutAndAppended) {
  const Fence fence = Create("a", {1, 2, 3});
  ASSERT_TRUE(Write(Change(Kind::kUpdate, "a", fence, 3, {4, 5})).status.ok());
  EXPECT_THAT(TokensOf("a"), ElementsAre(1, 2, 3, 4, 5));
  ASSERT_TRUE(Write(Change(Kind::kUpdate, "a", fence, 2, {6})).status.ok());
  EXPECT_THAT(TokensOf("a"), ElementsAre(1, 2, 6));
  ASSERT_TRUE(Write(Change(Kind::kUpdate, "a", fence, 1)).status.ok());
  EXPECT_THAT(TokensOf("a"), ElementsAre(1));
  ASSERT_TRUE(Write(Change(Kind::kUpdate, "a", fence, 0)).status.ok());
  EXPECT_THAT(TokensOf("a"), IsEmpty());
  ASSERT_TRUE(Write(Change(Kind::kUpdate, "a", fence, 0, {7})).status.ok());
  EXPECT_THAT(TokensOf("a"), ElementsAre(7));
}

TEST_P(SessionStoreTest, ADeletedSessionLeavesNothing) {
  std::mt19937_64 random(2);
  const Fence fence = Create("a", RandomTokens(10'000, random));
  Create("ab", {5});
  EXPECT_EQ(*store().Size(), 2);
  ASSERT_TRUE(Write(Change(Kind::kDelete, "a", fence)).status.ok());
  EXPECT_EQ(*store().Size(), 1);
  EXPECT_EQ(store().Load("a").status().code(), absl::StatusCode::kNotFound);
  Create("a", {1});
  EXPECT_THAT(TokensOf("a"), ElementsAre(1));
  EXPECT_EQ(store().Load("a")->record.version, 1);
  EXPECT_THAT(TokensOf("ab"), ElementsAre(5));
}

TEST_P(SessionStoreTest, AGroupIsOneCommitAndOneWriteFailsByItself) {
  std::map<std::string, Fence> fences;
  for (const std::string id : {"a", "b", "c"}) fences[id] = Create(id, {1});
  std::vector<SessionWrite> writes;
  writes.push_back(Change(Kind::kUpdate, "a", fences["a"], 1, {2}));
  writes.push_back(Change(Kind::kUpdate, "b", fences["b"], 1, {2}));
  writes.back().record.version = 7;
  writes.push_back(Creation(Record("c")));
  writes.push_back(Creation(Record("d"), {4}));
  const auto before = store().counts();
  store().Write(writes);
  EXPECT_TRUE(writes[0].status.ok()) << writes[0].status;
  EXPECT_EQ(writes[1].status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(writes[2].status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(writes[3].status.ok()) << writes[3].status;
  EXPECT_EQ(store().counts().commits, before.commits + 1);
  fixture().Reopen();
  EXPECT_THAT(TokensOf("a"), ElementsAre(1, 2));
  EXPECT_THAT(TokensOf("b"), ElementsAre(1));
  EXPECT_THAT(TokensOf("c"), ElementsAre(1));
  EXPECT_THAT(TokensOf("d"), ElementsAre(4));
}

TEST_P(SessionStoreTest, AnAppendCostsTheSameInALongSession) {
  std::mt19937_64 random(3);
  for (size_t length : {1'000, 100'000}) {
    const std::string id = absl::StrCat("s", length);
    const Fence fence = Create(id, RandomTokens(length, random));
    SessionRecord record = store().Load(id)->record;
    for (int turn = 0; turn < 20; ++turn) {
      SessionWrite write;
      write.record = record;
      write.record.length = record.length + 100;
      write.fence = fence;
      write.keep = record.length;
      write.append = RandomTokens(100, random);
      const auto before = store().counts();
      ASSERT_TRUE(Write(write).status.ok());
      // Three bytes a token at most, of the turn and a run that was short before; a record.
      EXPECT_LE(store().counts().bytes_written - before.bytes_written,
                3 * (100 + kShortRun) + 24 + 200);
      EXPECT_LE(store().counts().records_read - before.records_read, 2);  // record, last run
      record.length += 100;
      record.version += 1;
    }
    EXPECT_EQ(TokensOf(id).size(), length + 2000);
  }
}

TEST_P(SessionStoreTest, ASessionOfManyShortTurnsIsReadInFewRuns) {
  const Fence fence = Create("a");
  for (int turn = 0; turn < 400; ++turn) {
    ASSERT_TRUE(Write(Change(Kind::kUpdate, "a", fence, 5 * turn, {1, 2, 3, 4, 5})).status.ok());
  }
  const uint64_t before = store().counts().records_read;
  EXPECT_EQ(TokensOf("a").size(), 2000);
  EXPECT_LE(store().counts().records_read - before, 1 + 2000 / kShortRun + 1);
}

TEST_P(SessionStoreTest, ListsInOrderByPageAndLabel) {
  for (int i = 0; i < 25; ++i) {
    SessionRecord record = Record(absl::StrFormat("s%02d", i));
    record.metadata.labels["odd"] = i % 2 == 1 ? "yes" : "no";
    if (i == 7) record.metadata.labels["seven"] = "";
    ASSERT_TRUE(Write(Creation(record, {i})).status.ok());
  }
  std::string next;
  const auto ids = [&](const std::string& after, size_t count,
                       const std::map<std::string, std::string>& labels) {
    std::vector<std::string> found;
    const auto page = store().List(after, "", count, labels);
    EXPECT_TRUE(page.ok()) << page.status();
    for (const SessionRecord& record : page->records) found.push_back(record.metadata.id);
    next = page->next;
    return found;
  };
  EXPECT_THAT(ids("", 3, {}), ElementsAre("s00", "s01", "s02"));
  EXPECT_EQ(next, "s02");
  EXPECT_THAT(ids("s02", 2, {}), ElementsAre("s03", "s04"));
  EXPECT_THAT(ids("s02x", 1, {}), ElementsAre("s03"));
  EXPECT_THAT(ids("s22", 9, {}), ElementsAre("s23", "s24"));
  EXPECT_EQ(next, "");
  EXPECT_THAT(ids("s22", 2, {}), ElementsAre("s23", "s24"));
  EXPECT_EQ(next, "");
  EXPECT_THAT(ids("s24", 9, {}), IsEmpty());
  EXPECT_THAT(ids("s03", 3, {{"odd", "yes"}}), ElementsAre("s05", "s07", "s09"));
  EXPECT_THAT(ids("", 30, {{"odd", "yes"}, {"seven", ""}}), ElementsAre("s07"));
  EXPECT_THAT(ids("", 30, {{"seven", "x"}}), IsEmpty());
  EXPECT_EQ(ids("", 100, {}).size(), 25);
}

TEST_P(SessionStoreTest, APageEndsBeforeAKey) {
  for (int i = 0; i < 9; ++i) {
    ASSERT_TRUE(Write(Creation(Record(absl::StrFormat("s%d", i)), {i})).status.ok());
  }
  const auto page = [&](const std::string& after, const std::string& before, size_t count) {
    const uint64_t read = store().counts().records_read;
    const auto found = store().List(after, before, count, {});
    EXPECT_TRUE(found.ok()) << found.status();
    std::string ids;
    for (const SessionRecord& record : found->records) ids += record.metadata.id + " ";
    // What lies beyond costs nothing.
    EXPECT_LE(store().counts().records_read - read, found->records.size() + 1);
    return ids + found->next;
  };
  EXPECT_EQ(page("s1", "s4", 9), "s2 s3 ");
  EXPECT_EQ(page("s1", "s4", 2), "s2 s3 ");
  EXPECT_EQ(page("s1", "s4", 1), "s2 s2");
  EXPECT_EQ(page("s1", "s4x", 9), "s2 s3 s4 ");
  EXPECT_EQ(page("s7", "t", 9), "s8 ");
  EXPECT_EQ(page("", "s", 9), "");
  EXPECT_EQ(page("s4", "s4", 9), "");
}

TEST_P(SessionStoreTest, APageReadsNoMoreThanItShows) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(Write(Creation(Record(absl::StrFormat("s%02d", i)), RandomTokens(9000, random)))
                    .status.ok());
  }
  for (const size_t count : {1, 7, 29, 30, 100}) {
    const uint64_t before = store().counts().records_read;
    EXPECT_EQ(store().List("", "", count, {})->records.size(), std::min<size_t>(count, 30));
    EXPECT_LE(store().counts().records_read - before, count + 1);
  }
  const uint64_t before = store().counts().records_read;
  EXPECT_EQ(store().LoadRecord("s07")->length, 9000);
  EXPECT_EQ(store().counts().records_read - before, 1);
  EXPECT_TRUE(absl::IsNotFound(store().LoadRecord("none").status()));
}

TEST_P(SessionStoreTest, APageEndsWhereFewCarryItsLabels) {
  constexpr size_t kSessions = kMostExamined + 200;
  std::vector<SessionWrite> writes;
  for (size_t i = 0; i < kSessions; ++i) {
    SessionRecord record = Record(absl::StrFormat("s%05d", i));
    if (i == 50 || i + 1 == kSessions) record.metadata.labels["rare"] = "yes";
    writes.push_back(Creation(std::move(record)));
  }
  store().Write(writes);
  const uint64_t before = store().counts().records_read;
  const auto first = store().List("", "", 10, {{"rare", "yes"}});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_LE(store().counts().records_read - before, kMostExamined + 1);
  EXPECT_EQ(first->records.size(), 1);
  EXPECT_EQ(first->next, absl::StrFormat("s%05d", kMostExamined - 1));
  const auto second = store().List(first->next, "", 10, {{"rare", "yes"}});
  EXPECT_EQ(second->records.size(), 1);
  EXPECT_EQ(second->next, "");
}

TEST_P(SessionStoreTest, IdleSessionsExpireAtTheirTime) {
  std::vector<SessionStore::Lease> leases;
  const auto create = [&](const std::string& id, std::optional<absl::Duration> ttl) {
    SessionRecord record = Record(id);
    record.metadata.last_use_time = absl::Now();
    record.metadata.ttl = ttl;
    const SessionWrite created = Write(Creation(record, {1}));
    ASSERT_TRUE(created.status.ok());
    leases.push_back({id, created.new_fence});
  };
  create("later", absl::Hours(1));
  create("never", std::nullopt);
  create("soon", absl::Milliseconds(1));
  create("used", absl::Milliseconds(1));
  ASSERT_TRUE(store().Release(leases).ok());
  absl::SleepFor(absl::Milliseconds(5));
  const auto page = store().List("", "", 10, {});
  ASSERT_EQ(page->records.size(), 4);
  for (const SessionRecord& record : page->records) {
    const std::string& id = record.metadata.id;
    const bool expired = id == "soon" || id == "used";
    EXPECT_EQ(record.expired, expired) << id;
    EXPECT_EQ(store().Load(id)->record.expired, expired) << id;
    EXPECT_EQ(store().LoadRecord(id)->expired, expired) << id;
    EXPECT_EQ(store().Acquire(id, std::nullopt)->record.expired, expired) << id;
  }
  // Being used moves it.
  const Fence fence = store().Acquire("used", std::nullopt)->fence;
  SessionWrite use = Change(Kind::kUpdate, "used", fence, 1);
  use.record.metadata.last_use_time = absl::Now();
  use.record.metadata.ttl = absl::Hours(1);
  ASSERT_TRUE(Write(use).status.ok());
  EXPECT_FALSE(store().Load("used")->record.expired);

  for (SessionStore::Lease& lease : leases) {
    lease.fence = store().Acquire(lease.id, std::nullopt)->fence;
  }
  ASSERT_TRUE(store().Release(leases).ok());
  EXPECT_THAT(store().Expire({"soon"}).value(), ::testing::IsSubsetOf({"soon"}));
  EXPECT_THAT(store().Expire({}).value(), ::testing::IsSubsetOf({"soon"}));
  EXPECT_EQ(store().Load("soon").status().code(), absl::StatusCode::kNotFound);
  for (const std::string id : {"later", "never", "used"}) EXPECT_TRUE(store().Load(id).ok()) << id;
}

TEST_P(SessionStoreTest, ExpiresManyAThousandAtATime) {
  std::vector<SessionWrite> writes;
  for (int i = 0; i < 1500; ++i) {
    SessionRecord record = Record(absl::StrCat("s", i));
    record.metadata.ttl = absl::Microseconds(1);
    writes.push_back(Creation(record));
  }
  store().Write(writes);
  std::vector<SessionStore::Lease> leases;
  for (const SessionWrite& write : writes) {
    ASSERT_TRUE(write.status.ok()) << write.status;
    leases.push_back({write.record.metadata.id, write.new_fence});
  }
  ASSERT_TRUE(store().Release(leases).ok());
  EXPECT_EQ(*store().Size(), 1500);
  EXPECT_EQ(store().Expire({})->size(), 1000);
  EXPECT_EQ(*store().Size(), 500);
  EXPECT_EQ(store().Expire({})->size(), 500);
  EXPECT_EQ(store().Expire({})->size(), 0);
  EXPECT_EQ(*store().Size(), 0);
}

TEST_P(SessionStoreTest, LeasesThatAreHeldAreRenewed) {
  const Fence a = Create("a");
  const Fence b = Create("b");
  const std::vector<SessionStore::Lease> leases = {{"a", a}, {"b", b}};
  EXPECT_THAT(store().Renew(leases).value(), IsEmpty());
  EXPECT_TRUE(store().Release(leases).ok());
  EXPECT_TRUE(store().Release(leases).ok());
}

INSTANTIATE_TEST_SUITE_P(Sqlite, SessionStoreTest, ::testing::Values(&testing::MakeSqliteFixture));
INSTANTIATE_TEST_SUITE_P(Redis, SessionStoreTest, ::testing::Values(&testing::MakeRedisFixture));

}  // namespace
}  // namespace kvasir
