// What is SQLite's own: its file, its locks, its errors, and damage to the file.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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
#include "engine/error.h"
#include "engine/journal/session_store.h"
#include "tests/engine/file_size_limit.h"
#include "tests/engine/journal/random_sessions.h"
#include "tests/engine/temporary_directory.h"

namespace kvasir {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::RandomRecord;
using testing::RandomTokens;
using testing::TemporaryDirectory;
using Kind = SessionWrite::Kind;

SessionWrite Creation(const std::string& id, std::vector<int> tokens, std::mt19937_64& random) {
  SessionWrite write;
  write.kind = Kind::kCreate;
  write.record = RandomRecord(id, random);
  write.record.version = 0;
  write.record.length = tokens.size();
  write.append = std::move(tokens);
  return write;
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class SqliteStoreTest : public ::testing::Test {
 protected:
  std::string path() const { return (directory_.path() / "sessions.db").string(); }
  static std::unique_ptr<SessionStore> Open(const std::string& path) {
    auto store = OpenSqliteStore(path);
    KVASIR_CHECK(store.ok());
    return *std::move(store);
  }
  absl::Status Write(SessionStore& store, SessionWrite write) {
    store.Write({&write, 1});
    return write.status;
  }
  absl::Status Create(SessionStore& store, const std::string& id, std::vector<int> tokens) {
    return Write(store, Creation(id, std::move(tokens), random_));
  }
  void ExpectRefused(absl::StatusCode code, const std::string& path, const std::string& why) {
    const absl::Status status = OpenSqliteStore(path).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path), HasSubstr(why)));
  }
  // With another connection, as an operator's.
  static void Execute(const std::string& path, const std::string& sql) {
    sqlite3* connection = nullptr;
    ASSERT_EQ(sqlite3_open(path.c_str(), &connection), SQLITE_OK);
    char* error = nullptr;
    EXPECT_EQ(sqlite3_exec(connection, sql.c_str(), nullptr, nullptr, &error), SQLITE_OK) << error;
    sqlite3_free(error);
    sqlite3_close(connection);
  }

  TemporaryDirectory directory_;
  std::mt19937_64 random_{1};
};

TEST_F(SqliteStoreTest, AllIsInOneFileAfterACleanClose) {
  auto store = Open(path());
  EXPECT_EQ(store->name(), "sqlite:" + path());
  EXPECT_EQ(store->warning(), "");
  ASSERT_TRUE(Create(*store, "a", {1, 2}).ok());
  store.reset();
  EXPECT_FALSE(fs::exists(path() + "-wal"));
  fs::copy_file(path(), directory_.path() / "copy.db");
  EXPECT_THAT(Open((directory_.path() / "copy.db").string())->Load("a")->tokens, ElementsAre(1, 2));
}

TEST_F(SqliteStoreTest, NamesThatMeanSomethingToSqliteAreFiles) {
  const fs::path before = fs::current_path();
  fs::current_path(directory_.path());
  for (const char* name : {":memory:", "file:x?mode=memory"}) {
    ASSERT_TRUE(Create(*Open(name), "a", {1}).ok());
    EXPECT_TRUE(fs::exists(name));
    EXPECT_TRUE(Open(name)->Load("a").ok());
  }
  fs::current_path(before);
}

TEST_F(SqliteStoreTest, OneProcessOwnsTheFile) {
  auto store = Open(path());
  ExpectRefused(absl::StatusCode::kUnavailable, path(), "another process uses it");
  const pid_t child = fork();
  if (child == 0) _exit(absl::IsUnavailable(OpenSqliteStore(path()).status()) ? 0 : 1);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  store.reset();
  EXPECT_TRUE(OpenSqliteStore(path()).ok());
}

TEST_F(SqliteStoreTest, ABackupCanBeMadeMeanwhile) {
  auto store = Open(path());
  ASSERT_TRUE(Create(*store, "a", {1, 2}).ok());
  const std::string copy = (directory_.path() / "copy.db").string();
  sqlite3 *from = nullptr, *to = nullptr;  // what `sqlite3 PATH '.backup COPY'` does
  ASSERT_EQ(sqlite3_open(path().c_str(), &from), SQLITE_OK);
  ASSERT_EQ(sqlite3_open(copy.c_str(), &to), SQLITE_OK);
  sqlite3_backup* backup = sqlite3_backup_init(to, "main", from, "main");
  EXPECT_EQ(sqlite3_backup_step(backup, -1), SQLITE_DONE);
  EXPECT_EQ(sqlite3_backup_finish(backup), SQLITE_OK);
  sqlite3_close(to);
  sqlite3_close(from);
  ASSERT_TRUE(Create(*store, "b", {3}).ok());
  EXPECT_THAT(Open(copy)->Load("a")->tokens, ElementsAre(1, 2));
}

TEST_F(SqliteStoreTest, WhatIsNoStoreIsRefusedAndLeftAlone) {
  std::ofstream(path()) << std::string(5000, 'x');
  ExpectRefused(absl::StatusCode::kInvalidArgument, path(), "is not an SQLite database");
  EXPECT_EQ(fs::file_size(path()), 5000);

  const std::string other = (directory_.path() / "other.db").string();
  Execute(other, "CREATE TABLE sessions(id)");
  const std::string before = ReadFile(other);
  ExpectRefused(absl::StatusCode::kInvalidArgument, other, "is not a session store");
  EXPECT_EQ(ReadFile(other), before);

  ExpectRefused(absl::StatusCode::kUnavailable, directory_.path().string(), "unable to open");
  ExpectRefused(absl::StatusCode::kUnavailable, (directory_.path() / "no" / "folder").string(),
                "No such file or directory");
  EXPECT_EQ(OpenSqliteStore("").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(SqliteStoreTest, ANewerSchemaIsRefused) {
  Open(path());
  Execute(path(), "PRAGMA user_version = 2");
  ExpectRefused(absl::StatusCode::kInvalidArgument, path(), "its schema is 2, known is 1");
}

TEST_F(SqliteStoreTest, AFileThatWasEmptiedIsNotTakenForANewOne) {
  ASSERT_TRUE(Create(*Open(path()), "a", {1}).ok());
  fs::resize_file(path(), 0);
  ExpectRefused(absl::StatusCode::kUnavailable, path(), "is empty, but");
  fs::remove(path());
  EXPECT_EQ(Open(path())->Load("a").status().code(), absl::StatusCode::kNotFound);
}

// Root may write anything, so it is nobody meanwhile.
class AsNobody {
 public:
  AsNobody() { EXPECT_TRUE(!root_ || seteuid(65534) == 0); }
  ~AsNobody() { EXPECT_TRUE(!root_ || seteuid(0) == 0); }

 private:
  const bool root_ = geteuid() == 0;
};

TEST_F(SqliteStoreTest, WhatCannotBeWrittenIsRefused) {
  ASSERT_TRUE(Create(*Open(path()), "a", {1}).ok());
  const std::string lock = path() + "-lock";
  const auto refused = [&](mode_t file, mode_t lock_file, mode_t folder, const char* why) {
    chmod(path().c_str(), file);
    chmod(lock.c_str(), lock_file);
    chmod(directory_.path().c_str(), folder);
    const AsNobody nobody;
    ExpectRefused(absl::StatusCode::kUnavailable, path(), why);
  };
  refused(0444, 0666, 0777, "the file is read-only");
  refused(0666, 0666, 0555, "readonly");  // no room for a log
  refused(0666, 0444, 0777, "Permission denied");
  chmod(directory_.path().c_str(), 0700);
}

TEST_F(SqliteStoreTest, OpeningReadsARecordOfEachSessionAndNoTokens) {
  constexpr int kSessions = 300;
  auto store = Open(path());
  for (int i = 0; i < kSessions; ++i) {
    ASSERT_TRUE(Create(*store, absl::StrCat("s", i), RandomTokens(5000, random_)).ok());
  }
  store.reset();
  EXPECT_EQ(Open(path())->counts().records_read, kSessions);
}

TEST_F(SqliteStoreTest, AFullDiskFailsWritesAndSpoilsNothing) {
  auto store = Open(path());
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(Create(*store, absl::StrCat("s", i), RandomTokens(500, random_)).ok());
  }
  const auto before = store->Load("s0");
  {
    const testing::FileSizeLimit limit(fs::file_size(path() + "-wal") + 10'000);
    std::vector<SessionWrite> writes;
    for (const char* id : {"big", "small"}) {
      writes.push_back(Creation(id, RandomTokens(*id == 'b' ? 100'000 : 1, random_), random_));
    }
    SessionWrite update;
    update.record = before->record;
    update.record.length = update.keep = 0;
    writes.push_back(update);
    store->Write(writes);
    for (const SessionWrite& write : writes) {
      EXPECT_EQ(write.status.code(), absl::StatusCode::kUnavailable) << write.status;
      EXPECT_EQ(DetailOf(write.status).reason, "STORE");
      EXPECT_THAT(std::string(write.status.message()),
                  AllOf(HasSubstr(path()), HasSubstr("disk I/O error")));
    }
    // What needs no room still works.
    EXPECT_EQ(store->Load("s0")->tokens, before->tokens);
  }
  EXPECT_EQ(store->Load("big").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(Create(*store, "big", RandomTokens(100'000, random_)).ok());
  store.reset();
  store = Open(path());
  EXPECT_EQ(store->Load("s0")->tokens, before->tokens);
  EXPECT_EQ(store->List("", "", 100, {})->records.size(), 9);
}

TEST_F(SqliteStoreTest, AnOperatorsLockFailsWritesAndSpoilsNothing) {
  auto store = Open(path());
  sqlite3* connection = nullptr;
  ASSERT_EQ(sqlite3_open(path().c_str(), &connection), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(connection, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  const absl::Status status = Create(*store, "a", {1});
  EXPECT_EQ(DetailOf(status).reason, "STORE") << status;
  sqlite3_close(connection);
  EXPECT_TRUE(Create(*store, "a", {1}).ok());
}

// --- damage that an operator's hand can make: one session's alone ---

class DamagedSessionTest : public SqliteStoreTest {
 protected:
  DamagedSessionTest() {
    auto store = Open(path());
    for (const char* id : {"a", "b", "c"}) {
      EXPECT_TRUE(Create(*store, id, RandomTokens(10'000, random_)).ok());
    }
  }
  void ExpectDamaged(const std::string& sql, const std::string& id, const std::string& field) {
    Execute(path(), sql);
    auto store = Open(path());
    for (const absl::Status& status :
         {store->Load(id).status(), store->Acquire(id, std::nullopt).status()}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
      EXPECT_EQ(DetailOf(status).metadata["session_id"], id);
      EXPECT_THAT(DetailOf(status).metadata["field"], HasSubstr(field));
    }
    EXPECT_TRUE(store->Load("a").ok());
    EXPECT_EQ(Create(*store, id, {}).code(), absl::StatusCode::kAlreadyExists);
    // It may be deleted, and then be made anew.
    SessionWrite deletion;
    deletion.kind = Kind::kDelete;
    deletion.record.metadata.id = id;
    EXPECT_TRUE(Write(*store, deletion).ok());
    EXPECT_EQ(store->Load(id).status().code(), absl::StatusCode::kNotFound);
    EXPECT_TRUE(Create(*store, id, {1}).ok());
    store.reset();
    EXPECT_THAT(Open(path())->Load(id)->tokens, ElementsAre(1));
  }
};

TEST_F(DamagedSessionTest, AFlippedRecord) {
  ExpectDamaged("UPDATE sessions SET record = zeroblob(80) WHERE id = 'b'", "b", "metadata");
}

TEST_F(DamagedSessionTest, AMissingRun) {
  ExpectDamaged("DELETE FROM runs WHERE id = 'b' AND start = 4096", "b", "tokens from 4096");
}

TEST_F(DamagedSessionTest, AMissingLastRun) {
  ExpectDamaged("DELETE FROM runs WHERE id = 'b' AND start = 8192", "b", "tokens from 8192");
}

TEST_F(DamagedSessionTest, AnotherSessionsRun) {
  ExpectDamaged(
      "UPDATE runs SET data = (SELECT data FROM runs WHERE id = 'a' AND start = 4096) "
      "WHERE id = 'b' AND start = 4096",
      "b", "tokens from 4096");
}

TEST_F(DamagedSessionTest, RunsInTheWrongOrder) {
  ExpectDamaged(
      "UPDATE runs SET start = 9000 WHERE id = 'b' AND start = 0;"
      "UPDATE runs SET start = 0 WHERE id = 'b' AND start = 8192",
      "b", "tokens from 0");
}

TEST_F(DamagedSessionTest, AnotherKey) {
  ExpectDamaged("UPDATE sessions SET id = 'bb' WHERE id = 'b'", "b", "metadata");
}

TEST_F(DamagedSessionTest, IsListedAsSuchAndExpiresNever) {
  Execute(path(), "UPDATE sessions SET record = zeroblob(80), expire_ms = 5 WHERE id = 'b'");
  auto store = Open(path());
  const auto page = store->List("", "", 100, {});
  EXPECT_EQ(page->records.size(), 2);
  EXPECT_THAT(page->damaged, ElementsAre("b"));
  EXPECT_THAT(store->Expire({}).value(), IsEmpty());
}

TEST_F(DamagedSessionTest, AppendsToDamagedTokensAreRefused) {
  const SessionRecord record = Open(path())->Load("b")->record;
  Execute(path(), "DELETE FROM runs WHERE id = 'b' AND start = 8192");
  auto store = Open(path());
  SessionWrite write;
  write.record = record;
  write.keep = write.record.length;
  write.record.length += 1;
  write.append = {1};
  EXPECT_EQ(Write(*store, write).code(), absl::StatusCode::kDataLoss);
}

TEST_F(DamagedSessionTest, AMissingSessionRefusesTheFileUntilAnOperatorAccepts) {
  Execute(path(), "DELETE FROM sessions WHERE id = 'b'");
  ExpectRefused(absl::StatusCode::kUnavailable, path(), "holds 2 sessions, not the 3");
  Execute(path(), "DELETE FROM totals");
  EXPECT_TRUE(Open(path())->Load("a").ok());
}

}  // namespace
}  // namespace kvasir
