// Random operations on every store and on a naive one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/journal/session_store.h"
#include "tests/engine/journal/random_sessions.h"
#include "tests/engine/journal/session_store_testing.h"

namespace kvasir {
namespace {

using testing::Difference;
using ::testing::IsEmpty;
using testing::RandomRecord;
using testing::RandomTokens;
using testing::SessionStoreTest;
using Kind = SessionWrite::Kind;

// A naive store, and thousands of random operations on both.
class RandomOperationsTest : public SessionStoreTest {
 protected:
  // Idle times.
  static constexpr absl::Duration kAtOnce = absl::Microseconds(1);
  static constexpr absl::Duration kNeverAlmost = absl::Hours(24 * 365 * 1000);

  struct Expected {
    SessionRecord record;
    std::vector<int> tokens;
  };

  std::string AnyId() { return absl::StrCat("s", random_() % 12); }

  void RandomWrite() {
    std::vector<SessionWrite> writes;
    std::map<std::string, absl::StatusCode> codes;
    for (uint64_t i = random_() % 4 + 1; i > 0; --i) {
      const std::string id = AnyId();
      if (codes.contains(id)) continue;
      writes.push_back(RandomWrite(id, codes[id]));
    }
    store().Write(writes);
    for (const SessionWrite& write : writes) {
      const std::string& id = write.record.metadata.id;
      ASSERT_EQ(write.status.code(), codes[id]) << write.status;
      if (write.status.ok()) Apply(write);
    }
  }

  SessionWrite RandomWrite(const std::string& id, absl::StatusCode& code) {
    SessionWrite write;
    const bool exists = model_.contains(id);
    const uint64_t dice = random_() % 20;
    write.kind = dice == 0 || !exists ? Kind::kCreate : dice == 1 ? Kind::kDelete : Kind::kUpdate;
    write.record = RandomRecord(id, random_);
    write.record.version = 0;
    SessionMetadata& metadata = write.record.metadata;
    if (metadata.ttl) metadata.ttl = random_() % 8 == 0 ? kAtOnce : kNeverAlmost;
    metadata.last_use_time = std::min(metadata.last_use_time, absl::Now());
    if (write.kind == Kind::kCreate) {
      code = exists ? absl::StatusCode::kAlreadyExists : absl::StatusCode::kOk;
    } else {
      if (!fences_.contains(id)) fences_[id] = store().Acquire(id, std::nullopt)->fence;
      write.fence = fences_[id];
      const bool wrong = random_() % 8 == 0;
      write.record.version = model_[id].record.version + (wrong ? 1 : 0);
      code = wrong ? absl::StatusCode::kAborted : absl::StatusCode::kOk;
      const size_t length = model_[id].tokens.size();
      write.keep = random_() % 4 == 0 ? random_() % (length + 1) : length;
    }
    const size_t longest = random_() % 20 == 0 ? 9000 : 200;
    write.append = RandomTokens(random_() % longest, random_);
    write.record.length = write.keep + write.append.size();
    return write;
  }

  void Apply(const SessionWrite& write) {
    const std::string& id = write.record.metadata.id;
    if (write.kind == Kind::kDelete) {
      model_.erase(id);
      fences_.erase(id);
      return;
    }
    if (write.kind == Kind::kCreate) fences_[id] = write.new_fence;
    Expected& expected = model_[id];
    expected.record = write.record;
    ++expected.record.version;
    expected.tokens.resize(write.keep);
    expected.tokens.insert(expected.tokens.end(), write.append.begin(), write.append.end());
  }

  void CheckOne(const std::string& id) {
    const auto found = store().Load(id);
    if (!model_.contains(id)) {
      ASSERT_EQ(found.status().code(), absl::StatusCode::kNotFound) << found.status();
      return;
    }
    ASSERT_TRUE(found.ok()) << found.status();
    ASSERT_EQ(Difference(found->record, model_[id].record), "");
    ASSERT_EQ(found->tokens, model_[id].tokens);
  }

  void CheckAll() {
    const auto page = store().List("", "", 1000, {});
    ASSERT_TRUE(page.ok());
    ASSERT_THAT(page->damaged, IsEmpty());
    ASSERT_EQ(page->records.size(), model_.size());
    auto expected = model_.begin();
    for (const SessionRecord& record : page->records) {
      ASSERT_EQ(Difference(record, expected->second.record), "");
      CheckOne((expected++)->first);
    }
  }

  void ReleaseAll() {
    std::vector<SessionStore::Lease> leases;
    for (const auto& [id, fence] : fences_) leases.push_back({id, fence});
    ASSERT_TRUE(store().Release(leases).ok());
    fences_.clear();
  }

  void Reopen() {
    ReleaseAll();
    fixture().Reopen();
    CheckAll();
  }

  // A model of Expire.
  void Expire() {
    ReleaseAll();
    std::vector<std::string> gone;
    for (const auto& [id, session] : model_) {
      if (session.record.metadata.ttl == kAtOnce) gone.push_back(id);
    }
    ASSERT_THAT(store().Expire({}).value(), ::testing::UnorderedElementsAreArray(gone));
    for (const std::string& id : gone) model_.erase(id);
  }

  std::mt19937_64 random_{4};
  std::map<std::string, Expected> model_;
  std::map<std::string, Fence> fences_;
};

TEST_P(RandomOperationsTest, AgreeWithANaiveStore) {
  for (int i = 0; i < 4000 && !HasFatalFailure(); ++i) {
    const uint64_t dice = random_() % 100;
    if (dice == 0) {
      Reopen();
    } else if (dice < 3) {
      Expire();
    } else if (dice < 40) {
      CheckOne(AnyId());
    } else {
      RandomWrite();
    }
  }
  CheckAll();
}

INSTANTIATE_TEST_SUITE_P(Sqlite, RandomOperationsTest,
                         ::testing::Values(&testing::MakeSqliteFixture));
INSTANTIATE_TEST_SUITE_P(Redis, RandomOperationsTest,
                         ::testing::Values(&testing::MakeRedisFixture));

}  // namespace
}  // namespace kvasir
