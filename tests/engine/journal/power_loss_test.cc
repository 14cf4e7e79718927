// The power is cut at any moment: what was acknowledged is there, and nothing is half there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/check.h"
#include "engine/error.h"
#include "engine/journal/sqlite_store.h"
#include "tests/engine/journal/power_loss_vfs.h"
#include "tests/engine/journal/random_sessions.h"
#include "tests/engine/temporary_directory.h"

namespace kvasir {
namespace {

using testing::Difference;
using ::testing::HasSubstr;
using testing::PowerLossDisk;
using testing::RandomRecord;
using testing::RandomTokens;
using testing::TemporaryDirectory;
using Kind = SessionWrite::Kind;
using Contents = std::map<std::string, StoredSession>;

constexpr char kVfs[] = "power-loss";

// Small pages and a log that is soon copied into the file: the same paths, sooner.
int MakeSmall(sqlite3* connection, char** /*error*/, const sqlite3_api_routines* /*routines*/) {
  sqlite3_exec(connection, "PRAGMA page_size=512", nullptr, nullptr, nullptr);
  sqlite3_wal_autocheckpoint(connection, 60);
  return SQLITE_OK;
}

class SmallDatabases {
 public:
  SmallDatabases() { sqlite3_auto_extension(reinterpret_cast<void (*)()>(&MakeSmall)); }
  ~SmallDatabases() { sqlite3_cancel_auto_extension(reinterpret_cast<void (*)()>(&MakeSmall)); }
};

// A server's life on such a disk, until the power goes.
class Life {
 public:
  explicit Life(uint64_t seed) : random_(seed) {}

  PowerLossDisk& disk() { return disk_; }
  std::mt19937_64& random() { return random_; }

  // Groups of writes, with a restart of the process now and then. Stops where the power goes.
  void Run(int groups) {
    for (int i = 0; i < groups && !disk_.is_off(); ++i) {
      if (store_ == nullptr || random_() % 12 == 0) Reopen();
      if (store_ != nullptr) WriteGroup();
    }
  }
  void Reopen() {
    store_.reset();
    auto store = SqliteStore::Open(path_, kVfs);
    KVASIR_CHECK(store.ok() || disk_.is_off());
    if (store.ok()) store_ = *std::move(store);
  }
  void Close() { store_.reset(); }
  void Restart() {
    Close();
    disk_.Restart(random_);
  }

  // Whether what is there is what was acknowledged, or that and all of the last group.
  ::testing::AssertionResult Check() {
    store_.reset();
    auto opened = SqliteStore::Open(path_, kVfs);
    if (!opened.ok()) return ::testing::AssertionFailure() << opened.status();
    store_ = *std::move(opened);
    Contents found;
    const auto page = store_->List("", "", 1000, {});
    if (!page.ok()) return ::testing::AssertionFailure() << page.status();
    for (const std::string& id : page->damaged) {
      return ::testing::AssertionFailure() << id << " is damaged";
    }
    for (const SessionRecord& record : page->records) {
      auto session = store_->Load(record.metadata.id);
      if (!session.ok()) return ::testing::AssertionFailure() << session.status();
      found[record.metadata.id] = *std::move(session);
    }
    const std::string before = Compare(found, acknowledged_);
    const std::string after = pending_ ? Compare(found, *pending_) : "nothing is pending";
    if (!before.empty() && !after.empty()) {
      return ::testing::AssertionFailure()
             << "of what was acknowledged: " << before << "; with what was not: " << after;
    }
    acknowledged_ = found;
    pending_.reset();
    return ::testing::AssertionSuccess();
  }

 private:
  static std::string Compare(const Contents& found, const Contents& expected) {
    for (const auto& [id, session] : expected) {
      const auto other = found.find(id);
      if (other == found.end()) return absl::StrCat(id, " is missing");
      const std::string field = Difference(session.record, other->second.record);
      if (!field.empty()) return absl::StrCat(id, " differs in ", field);
      if (session.tokens != other->second.tokens) return absl::StrCat(id, " has other tokens");
    }
    return found.size() == expected.size() ? "" : "there are other sessions";
  }

  void WriteGroup() {
    std::vector<SessionWrite> writes;
    Contents after = acknowledged_;
    std::map<std::string, bool> taken;
    for (uint64_t i = random_() % 3 + 1; i > 0; --i) {
      const std::string id = absl::StrCat("s", random_() % 8);
      if (!taken.emplace(id, true).second) continue;
      writes.push_back(RandomWrite(id));
      const SessionWrite& write = writes.back();
      if (write.kind == Kind::kDelete) {
        after.erase(id);
        continue;
      }
      StoredSession& session = after[id];
      session.record = write.record;
      ++session.record.version;
      session.tokens.resize(write.keep);
      session.tokens.insert(session.tokens.end(), write.append.begin(), write.append.end());
    }
    store_->Write(writes);
    const bool ok = writes[0].status.ok();
    for (const SessionWrite& write : writes) KVASIR_CHECK(write.status.ok() == ok);
    KVASIR_CHECK(ok || disk_.is_off());
    (ok ? acknowledged_ : pending_.emplace()) = after;
  }

  SessionWrite RandomWrite(const std::string& id) {
    SessionWrite write;
    const auto known = acknowledged_.find(id);
    write.record = RandomRecord(id, random_);
    if (known == acknowledged_.end()) {
      write.kind = Kind::kCreate;
      write.record.version = 0;
    } else {
      write.kind = random_() % 10 == 0 ? Kind::kDelete : Kind::kUpdate;
      write.record.version = known->second.record.version;
      const size_t length = known->second.tokens.size();
      write.keep = random_() % 4 == 0 ? random_() % (length + 1) : length;
    }
    write.append = RandomTokens(random_() % (random_() % 10 == 0 ? 3000 : 80), random_);
    write.record.length = write.keep + write.append.size();
    return write;
  }

  const SmallDatabases small_;
  const TemporaryDirectory directory_;  // of the lock
  const std::string path_ = (directory_.path() / "sessions.db").string();
  PowerLossDisk disk_{kVfs};
  std::mt19937_64 random_;
  std::unique_ptr<SqliteStore> store_;
  Contents acknowledged_;
  std::optional<Contents> pending_;  // what is there if the last group was written after all
};

constexpr int kGroups = 40;
constexpr int kLives = 300;

TEST(PowerLossTest, WhatWasAcknowledgedIsThere) {
  uint64_t operations = 0;  // of a whole life
  {
    Life whole(0);
    whole.Run(kGroups);
    operations = whole.disk().operations();
  }
  int cut_in_writing = 0;
  for (uint64_t seed = 0; seed < kLives; ++seed) {
    SCOPED_TRACE(seed);
    Life life(seed);
    std::mt19937_64 random(seed + 1'000'000);
    life.disk().CutAt(random() % operations);
    life.Run(kGroups);
    if (life.disk().is_off()) ++cut_in_writing;
    life.Close();  // the power may go here as well
    life.Restart();
    // And again while the store recovers, sometimes.
    if (seed % 3 == 0) {
      life.disk().CutAt(life.disk().operations() + random() % 12);
      life.Reopen();
      life.Restart();
    }
    ASSERT_TRUE(life.Check());
    life.Run(5);
    ASSERT_TRUE(life.Check());
  }
  EXPECT_GT(cut_in_writing, kLives / 2);
}

// The test above can fail.
TEST(PowerLossTest, WithoutSyncsWritesAreLost) {
  int lost = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Life life(seed);
    life.disk().IgnoreSyncs();
    life.Run(kGroups);
    life.disk().CutAt(life.disk().operations());
    life.Run(1);
    life.Restart();
    if (!life.Check()) ++lost;
  }
  EXPECT_GT(lost, 20);
}

class DiskTest : public ::testing::Test {
 protected:
  SessionWrite Creation(const std::string& id, size_t length) {
    SessionWrite write;
    write.kind = Kind::kCreate;
    write.record = RandomRecord(id, random_);
    write.record.version = 0;
    write.record.length = length;
    write.append = RandomTokens(length, random_);
    return write;
  }

  std::mt19937_64 random_{1};
  const TemporaryDirectory directory_;
  const std::string path_ = (directory_.path() / "sessions.db").string();
  PowerLossDisk disk_{kVfs};
  std::unique_ptr<SqliteStore> store_ = *SqliteStore::Open(path_, kVfs);
};

TEST_F(DiskTest, AGroupOfWritesIsOneSync) {
  for (int count : {1, 16}) {
    std::vector<SessionWrite> writes;
    for (int i = 0; i < count; ++i) {
      writes.push_back(Creation(absl::StrCat("s", count, "-", i), 100));
    }
    const uint64_t before = disk_.syncs();
    store_->Write(writes);
    ASSERT_TRUE(writes[0].status.ok()) << writes[0].status;
    EXPECT_EQ(disk_.syncs(), before + 1) << count;
  }
  std::vector<SessionWrite> refused = {Creation("s1-0", 1)};
  const uint64_t before = disk_.syncs();
  store_->Write(refused);
  EXPECT_EQ(disk_.syncs(), before);
}

TEST_F(DiskTest, AFullDiskIsNamedAndRoomIsFoundAgain) {
  SessionWrite write = Creation("a", 100);
  store_->Write({&write, 1});
  ASSERT_TRUE(write.status.ok());
  disk_.set_full(true);
  SessionWrite more = Creation("b", 10'000);
  store_->Write({&more, 1});
  EXPECT_EQ(DetailOf(more.status).reason, "STORE");
  EXPECT_THAT(std::string(more.status.message()), HasSubstr("database or disk is full"));
  EXPECT_TRUE(store_->Load("a").ok());
  EXPECT_TRUE(absl::IsNotFound(store_->Load("b").status()));
  disk_.set_full(false);
  store_->Write({&more, 1});
  EXPECT_TRUE(more.status.ok()) << more.status;
}

}  // namespace
}  // namespace kvasir
