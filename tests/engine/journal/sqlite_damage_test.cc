// Flipped bits and truncations anywhere in a store's files: whatever is read is what was written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/check.h"
#include "engine/journal/session_store.h"
#include "tests/engine/journal/random_sessions.h"
#include "tests/engine/temporary_directory.h"

namespace kvasir {
namespace {

namespace fs = std::filesystem;
using testing::Difference;
using testing::RandomRecord;
using testing::RandomTokens;
using testing::TemporaryDirectory;
using Contents = std::map<std::string, StoredSession>;

std::string ReadFile(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void WriteFile(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string WithBitFlipped(std::string bytes, uint64_t bit) {
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
  return bytes;
}

bool Same(const StoredSession& a, const StoredSession& b) {
  return Difference(a.record, b.record).empty() && a.tokens == b.tokens;
}

class DamageTest : public ::testing::Test {
 protected:
  DamageTest() : path_(directory_.path() / "sessions.db") {}

  std::unique_ptr<SessionStore> Open() {
    auto store = OpenSqliteStore(path_.string());
    KVASIR_CHECK(store.ok());
    return *std::move(store);
  }

  void Create(SessionStore& store, const std::string& id) {
    SessionWrite write;
    write.kind = SessionWrite::Kind::kCreate;
    write.record = RandomRecord(id, random_);
    write.record.version = 0;
    Put(store, write);
  }
  void Append(SessionStore& store, const std::string& id) {
    SessionWrite write;
    write.record = written_[id].record;
    write.keep = write.record.length - random_() % (write.record.length / 4 + 1);
    Put(store, write);
  }
  void Put(SessionStore& store, SessionWrite& write) {
    write.append = RandomTokens(1 + random_() % (random_() % 8 == 0 ? 6000 : 600), random_);
    write.record.length = write.keep + write.append.size();
    write.fence = 1;
    store.Write({&write, 1});
    KVASIR_CHECK(write.status.ok());
    const std::string& id = write.record.metadata.id;
    written_[id] = *store.Load(id);
  }
  // Many sessions, runs, an index with entries, cuts and deletions.
  void Fill() {
    auto store = Open();
    for (int i = 0; i < 60; ++i) Create(*store, absl::StrCat("session-", i));
    for (int i = 0; i < 120; ++i) Append(*store, absl::StrCat("session-", random_() % 60));
    for (int i = 0; i < 60; i += 7) Delete(*store, absl::StrCat("session-", i));
  }
  void Delete(SessionStore& store, const std::string& id) {
    SessionWrite write;
    write.kind = SessionWrite::Kind::kDelete;
    write.record = written_[id].record;
    store.Write({&write, 1});
    KVASIR_CHECK(write.status.ok());
    written_.erase(id);
  }

  // What may be seen of the damaged file.
  void Check(const std::string& what) {
    SCOPED_TRACE(what);
    auto opened = OpenSqliteStore(path_.string());
    if (!opened.ok()) {
      const absl::StatusCode code = opened.status().code();
      EXPECT_TRUE(code == absl::StatusCode::kUnavailable ||
                  code == absl::StatusCode::kInvalidArgument)
          << opened.status();
      ++refused_;
      return;
    }
    SessionStore& store = **opened;
    CheckAll(store);
    if (++opened_ % 4 == 0) CheckWriting(store);
  }

  // Counts the sessions that are lost, visibly.
  void CheckAll(SessionStore& store) {
    for (const auto& [id, written] : written_) {
      const auto loaded = store.Load(id);
      if (loaded.ok()) {
        EXPECT_TRUE(Same(*loaded, written)) << id;
        ++intact_;
      } else {
        EXPECT_TRUE(absl::IsDataLoss(loaded.status()) || absl::IsUnavailable(loaded.status()))
            << loaded.status();
        ++damaged_;
      }
    }
    const auto page = store.List("", "", 1000, {});
    if (!page.ok()) return;
    EXPECT_EQ(page->records.size() + page->damaged.size(), written_.size());
    for (const SessionRecord& record : page->records) {
      const auto written = written_.find(record.metadata.id);
      ASSERT_NE(written, written_.end());
      const SessionRecord& now = written->second.record;
      if (record.version < now.version && allows_older_records_) continue;
      EXPECT_EQ(Difference(record, now), "");
    }
  }

  // Goes on writing into it: what has been damaged must not get worse unseen.
  void CheckWriting(SessionStore& store) {
    const Contents before = written_;
    for (int i = 0; i < 10; ++i) {
      auto session = std::next(written_.begin(), random_() % written_.size());
      SessionWrite write;
      write.record = session->second.record;
      write.keep = write.record.length;
      write.append = RandomTokens(300, random_);
      write.record.length += write.append.size();
      store.Write({&write, 1});
      if (!write.status.ok()) {
        EXPECT_TRUE(absl::IsDataLoss(write.status) || absl::IsUnavailable(write.status))
            << write.status;
        continue;
      }
      StoredSession& written = session->second;
      written.record = write.record;
      ++written.record.version;
      written.tokens.insert(written.tokens.end(), write.append.begin(), write.append.end());
    }
    CheckAll(store);
    written_ = before;
  }

  TemporaryDirectory directory_;
  const fs::path path_;
  std::mt19937_64 random_{1};
  Contents written_;
  bool allows_older_records_ = false;  // where tokens are not looked at
  int refused_ = 0, opened_ = 0, intact_ = 0, damaged_ = 0;
};

TEST_F(DamageTest, FlippedBits) {
  Fill();
  const std::string good = ReadFile(path_);
  ASSERT_GT(good.size(), 200'000);
  const auto check = [&](uint64_t bit) {
    WriteFile(path_, WithBitFlipped(good, bit));
    Check(absl::StrCat("bit ", bit % 8, " of byte ", bit / 8));
    fs::remove(path_.string() + "-wal");
    fs::remove(path_.string() + "-shm");
  };
  for (uint64_t bit = 0; bit < 8 * 100; bit += 3) check(bit);  // the file's header
  for (int i = 0; i < 400; ++i) {
    // A page, then a place in it: half of them in its header and its cells' places.
    const uint64_t page = random_() % (good.size() / 4096);
    const uint64_t byte = random_() % 2 == 0 ? random_() % 64 : random_() % 4096;
    check(8 * (page * 4096 + byte) + random_() % 8);
  }
  EXPECT_GT(refused_, 20);  // the sessions' table
  EXPECT_GT(damaged_, 20);  // sessions
  EXPECT_GT(intact_, 1000);
  RecordProperty("refused", refused_);
  RecordProperty("damaged", damaged_);
}

// An id that is found by a scan, and that a look-up, or one for its neighbours, would miss.
TEST_F(DamageTest, FlippedBitsInIds) {
  Fill();
  const std::string good = ReadFile(path_);
  int flipped = 0;
  for (size_t at = 0; (at = good.find("session-", at)) != std::string::npos; at += 8) {
    if (++flipped % 3 != 0) continue;
    WriteFile(path_, WithBitFlipped(good, 8 * at + 6));
    Check(absl::StrCat("byte ", at));
    fs::remove(path_.string() + "-wal");
    fs::remove(path_.string() + "-shm");
  }
  EXPECT_GT(refused_, 5);
  EXPECT_GT(damaged_, 20);
}

TEST_F(DamageTest, TruncatedFile) {
  Fill();
  const std::string good = ReadFile(path_);
  for (uint64_t size = 0; size < good.size(); size += good.size() / 150) {
    // In whole pages, too.
    for (uint64_t length : {size, size / 4096 * 4096}) {
      WriteFile(path_, good.substr(0, length));
      Check(absl::StrCat("the first ", length, " bytes"));
      fs::remove(path_.string() + "-wal");
      fs::remove(path_.string() + "-shm");
    }
  }
  EXPECT_GT(refused_, 100);
}

// A page that the disk has never written: its content is right, of another time.
TEST_F(DamageTest, StalePages) {
  allows_older_records_ = true;
  Fill();
  const std::string before = ReadFile(path_);
  {
    auto store = Open();
    for (int i = 0; i < 60; ++i) {
      auto session = written_.begin();
      std::advance(session, random_() % written_.size());
      Append(*store, session->first);
    }
    for (int i = 100; i < 110; ++i) Create(*store, absl::StrCat("session-", i));
  }
  const std::string good = ReadFile(path_);
  int stale = 0;
  for (size_t page = 0; page < good.size(); page += 4096) {
    const std::string old = before.size() > page ? before.substr(page, 4096) : std::string(4096, 0);
    if (good.compare(page, 4096, old) == 0) continue;
    ++stale;
    WriteFile(path_, std::string(good).replace(page, 4096, old));
    Check(absl::StrCat("page ", page / 4096 + 1));
    fs::remove(path_.string() + "-wal");
    fs::remove(path_.string() + "-shm");
  }
  EXPECT_GT(stale, 30);
}

// The log of a store that crashed: all before the damage is there, and nothing after it, as after
// a crash at that point.
TEST_F(DamageTest, FlippedBitsInTheLogTakeBackTheLastWritesOfAll) {
  std::vector<Contents> after = {written_};
  auto store = Open();
  for (int i = 0; i < 10; ++i) {
    Create(*store, absl::StrCat("session-", i));
    after.push_back(written_);
  }
  for (int i = 0; i < 40; ++i) {
    Append(*store, absl::StrCat("session-", random_() % 10));
    after.push_back(written_);
  }
  const std::string file = ReadFile(path_);
  const fs::path log = path_.string() + "-wal";
  const std::string good = ReadFile(log);
  ASSERT_GT(good.size(), 200'000);
  store.reset();
  int taken_back = 0;
  for (int i = 0; i < 150; ++i) {
    const uint64_t bit = i < 32 ? 8 * i + random_() % 8 : random_() % (8 * good.size());
    SCOPED_TRACE(bit);
    WriteFile(path_, file);
    WriteFile(log, WithBitFlipped(good, bit));
    auto opened = OpenSqliteStore(path_.string());
    if (!opened.ok()) {  // the schema itself was in the log
      ++taken_back;
      continue;
    }
    Contents found;
    const auto page = (*opened)->List("", "", 1000, {});
    for (const SessionRecord& record : page->records) {
      found[record.metadata.id] = (*opened)->Load(record.metadata.id).value();
    }
    const auto same = [&](const Contents& contents) {
      return std::equal(found.begin(), found.end(), contents.begin(), contents.end(),
                        [](const auto& a, const auto& b) {
                          return a.first == b.first && Same(a.second, b.second);
                        });
    };
    const auto moment = std::find_if(after.begin(), after.end(), same);
    EXPECT_NE(moment, after.end());
    if (moment != after.end() - 1) ++taken_back;
  }
  EXPECT_GT(taken_back, 100);
}

}  // namespace
}  // namespace kvasir
