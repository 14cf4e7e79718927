#include "engine/journal/sqlite_database.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/error.h"
#include "engine/journal/record_codec.h"

namespace kvasir {
namespace {

// How long a commit waits for an operator's own writing connection.
constexpr int kBusyMilliseconds = 1000;
constexpr std::string_view kMade = "A session store was made beside this lock.\n";

}  // namespace

absl::Status SqliteStoreError(const std::string& path, std::string_view why) {
  return MakeError(Reason::kStore, absl::StrCat("session store '", path, "': ", std::string(why)));
}

absl::StatusOr<std::unique_ptr<SqliteDatabase>> SqliteDatabase::Open(const std::string& path,
                                                                     const char* vfs) {
  if (path.empty()) return absl::InvalidArgumentError("session store 'sqlite:': the path is empty");
  // An absolute one is never one of the names that mean something else to SQLite: ":memory:",
  // "file:...".
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return SqliteStoreError(path, error.message());
  std::unique_ptr<SqliteDatabase> database(new SqliteDatabase(absolute.string()));
  if (const absl::Status status = database->Lock(); !status.ok()) return status;
  if (const absl::Status status = database->Connect(vfs); !status.ok()) return status;
  return database;
}

absl::Status SqliteDatabase::Lock() {
  // Beside the file: SQLite's own locks on it belong to processes, and an open and close of ours
  // would drop them.
  const std::string name = path_ + "-lock";
  lock_ = open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) {
    return SqliteStoreError(path_, absl::StrCat("cannot open '", name, "': ", strerror(errno)));
  }
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    return SqliteStoreError(path_, errno == EWOULDBLOCK
                                       ? "another process uses it"
                                       : absl::StrCat("cannot lock it: ", strerror(errno)));
  }
  return absl::OkStatus();
}

absl::Status SqliteDatabase::Connect(const char* vfs) {
  struct stat file {};
  existed_ = stat(path_.c_str(), &file) == 0;
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  if (sqlite3_open_v2(path_.c_str(), &connection_, kFlags, vfs) != SQLITE_OK) return Error();
  if (sqlite3_db_readonly(connection_, "main") == 1) {
    return SqliteStoreError(path_, "the file is read-only");
  }
  sqlite3_extended_result_codes(connection_, 1);
  sqlite3_busy_timeout(connection_, kBusyMilliseconds);
  // The first that reads the file.
  if (const auto version = Number("PRAGMA schema_version"); !version.ok()) {
    if ((sqlite3_errcode(connection_) & 0xff) != SQLITE_NOTADB) return version.status();
    return absl::InvalidArgumentError(
        absl::StrCat("session store '", path_, "': is not an SQLite database"));
  }
  return absl::OkStatus();
}

absl::Status SqliteDatabase::StartLog() {
  SqliteStatement statement;
  const absl::Status prepared = statement.Prepare(*this, "PRAGMA journal_mode=WAL");
  if (!prepared.ok()) return prepared;
  {
    SqliteQuery query(statement);
    if (!query.Next()) return query.status();
    if (query.Bytes(0) != "wal") {
      return SqliteStoreError(path_, "its file system is not fit for a write-ahead log");
    }
  }
  return Execute(
      "PRAGMA synchronous=FULL;"
      "PRAGMA trusted_schema=OFF;"  // nothing in the file may call functions
      "PRAGMA cell_size_check=ON;"
      "PRAGMA temp_store=MEMORY");
}

SqliteDatabase::~SqliteDatabase() {
  if (connection_ != nullptr) {
    sqlite3_wal_checkpoint_v2(connection_, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
    sqlite3_close(connection_);
  }
  if (lock_ >= 0) close(lock_);
}

bool SqliteDatabase::made_before() const {
  struct stat lock {};
  return existed_ && fstat(lock_, &lock) == 0 && lock.st_size > 0;
}

absl::Status SqliteDatabase::RememberMade() {
  if (made_before() ||
      (pwrite(lock_, kMade.data(), kMade.size(), 0) == kMade.size() && fsync(lock_) == 0)) {
    return absl::OkStatus();
  }
  return SqliteStoreError(path_,
                          absl::StrCat("cannot write '", path_, "-lock': ", strerror(errno)));
}

absl::Status SqliteDatabase::Execute(const char* sql) {
  const int code = sqlite3_exec(connection_, sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error();
}

absl::StatusOr<int64_t> SqliteDatabase::Number(const char* sql) {
  SqliteStatement statement;
  if (const absl::Status status = statement.Prepare(*this, sql); !status.ok()) return status;
  SqliteQuery query(statement);
  if (!query.Next()) {
    return query.status().ok() ? SqliteStoreError(path_, "is damaged") : query.status();
  }
  return query.Integer(0);
}

absl::Status SqliteDatabase::Error() const {
  if (connection_ == nullptr) return SqliteStoreError(path_, "out of memory");
  return SqliteStoreError(path_, absl::StrCat(sqlite3_errmsg(connection_), " (SQLite's error ",
                                              sqlite3_extended_errcode(connection_), ")"));
}

absl::Status SqliteStatement::Prepare(SqliteDatabase& database, const char* sql) {
  database_ = &database;
  const int code = sqlite3_prepare_v3(database.connection(), sql, -1, SQLITE_PREPARE_PERSISTENT,
                                      &statement_, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : database.Error();
}

SqliteQuery::~SqliteQuery() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

SqliteQuery& SqliteQuery::Text(int parameter, std::string_view value) {
  sqlite3_bind_text64(statement_, parameter, value.data(), value.size(), SQLITE_STATIC,
                      SQLITE_UTF8);
  return *this;
}

SqliteQuery& SqliteQuery::Blob(int parameter, std::string_view value) {
  sqlite3_bind_blob64(statement_, parameter, value.data(), value.size(), SQLITE_STATIC);
  return *this;
}

SqliteQuery& SqliteQuery::Integer(int parameter, int64_t value) {
  sqlite3_bind_int64(statement_, parameter, value);
  return *this;
}

bool SqliteQuery::Next() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) {
    status_ = database_.Error();
    corrupt_ = database_.corrupt();
  }
  return false;
}

absl::Status SqliteQuery::Run() {
  while (Next()) {
  }
  return status_;
}

absl::Status SqliteQuery::StatusFor(const std::string& id, std::string_view field) const {
  return corrupt_ ? SessionDamaged(id, field, std::string(status_.message())) : status_;
}

std::string_view SqliteQuery::Bytes(int column) {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  const int size = sqlite3_column_bytes(statement_, column);
  return bytes == nullptr ? std::string_view() : std::string_view(bytes, size);
}

}  // namespace kvasir
