#ifndef KVASIR_ENGINE_JOURNAL_SQLITE_DATABASE_H_
#define KVASIR_ENGINE_JOURNAL_SQLITE_DATABASE_H_

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvasir {

// One connection to an SQLite file that this process alone writes: other processes may read it
// (`sqlite3 PATH .backup`) meanwhile. Errors are UNAVAILABLE (STORE) with the path and SQLite's
// text.
class SqliteDatabase {
 public:
  // Locks PATH-lock and opens PATH, made where it is not there. `vfs`: SQLite's name of the file
  // system, null for the operating system's. INVALID_ARGUMENT where PATH cannot be a database.
  static absl::StatusOr<std::unique_ptr<SqliteDatabase>> Open(const std::string& path,
                                                              const char* vfs);
  ~SqliteDatabase();
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;

  // From now on writes go to a write-ahead log, every commit synced. Changes the file.
  absl::Status StartLog();

  // Whether RememberMade was called for this path before, and the file was still there: where it
  // is empty, it has lost what it had. PATH-lock remembers.
  bool made_before() const;
  absl::Status RememberMade();

  absl::Status Execute(const char* sql);
  // Of a statement with one number as its answer, as most PRAGMAs.
  absl::StatusOr<int64_t> Number(const char* sql);
  bool in_transaction() const { return sqlite3_get_autocommit(connection_) == 0; }

  // Of the last call that failed.
  absl::Status Error() const;
  bool corrupt() const { return (sqlite3_errcode(connection_) & 0xff) == SQLITE_CORRUPT; }

  const std::string& path() const { return path_; }
  sqlite3* connection() { return connection_; }

 private:
  explicit SqliteDatabase(std::string path) : path_(std::move(path)) {}
  absl::Status Lock();
  absl::Status Connect(const char* vfs);

  std::string path_;
  int lock_ = -1;
  bool existed_ = false;
  sqlite3* connection_ = nullptr;
};

// "session store 'PATH': WHY" as UNAVAILABLE (STORE).
absl::Status SqliteStoreError(const std::string& path, std::string_view why);

// A prepared statement.
class SqliteStatement {
 public:
  SqliteStatement() = default;
  ~SqliteStatement() { sqlite3_finalize(statement_); }
  SqliteStatement(const SqliteStatement&) = delete;
  SqliteStatement& operator=(const SqliteStatement&) = delete;

  absl::Status Prepare(SqliteDatabase& database, const char* sql);

 private:
  friend class SqliteQuery;
  SqliteDatabase* database_ = nullptr;
  sqlite3_stmt* statement_ = nullptr;
};

// One use of a statement. What is bound must outlive it; columns live until the next row.
class SqliteQuery {
 public:
  explicit SqliteQuery(SqliteStatement& statement)
      : database_(*statement.database_), statement_(statement.statement_) {}
  ~SqliteQuery();
  SqliteQuery(const SqliteQuery&) = delete;
  SqliteQuery& operator=(const SqliteQuery&) = delete;

  // Parameters are counted from 1.
  SqliteQuery& Text(int parameter, std::string_view value);
  SqliteQuery& Blob(int parameter, std::string_view value);
  SqliteQuery& Integer(int parameter, int64_t value);

  // The next row; false: there is none, or an error.
  bool Next();
  // For statements without rows.
  absl::Status Run();
  const absl::Status& status() const { return status_; }
  // A damaged file, found while reading or writing `field` of session `id`, is that session's
  // DATA_LOSS.
  absl::Status StatusFor(const std::string& id, std::string_view field) const;

  // Columns are counted from 0.
  std::string_view Bytes(int column);
  bool IsText(int column) { return sqlite3_column_type(statement_, column) == SQLITE_TEXT; }
  int64_t Integer(int column) { return sqlite3_column_int64(statement_, column); }

 private:
  SqliteDatabase& database_;
  sqlite3_stmt* statement_;
  absl::Status status_;
  bool corrupt_ = false;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_JOURNAL_SQLITE_DATABASE_H_
