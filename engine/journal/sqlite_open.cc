// Opening a store: its schema, and the check of what is there.
#include <zlib.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/journal/sqlite_store.h"

namespace kvasir {
namespace {

constexpr int64_t kSchemaVersion = 1;
constexpr int64_t kApplicationId = 0x4b567372;  // "KVsr"

// WITHOUT ROWID: one tree a table, so that what a scan finds in order is what a look-up finds, and
// a session's runs lie together.
constexpr char kSchema[] = R"sql(
  BEGIN IMMEDIATE;
  CREATE TABLE sessions(id TEXT PRIMARY KEY, expire_ms INTEGER, record BLOB NOT NULL)
    WITHOUT ROWID;
  CREATE INDEX sessions_by_expiry ON sessions(expire_ms) WHERE expire_ms IS NOT NULL;
  CREATE TABLE runs(id TEXT, start INTEGER, data BLOB NOT NULL, PRIMARY KEY(id, start))
    WITHOUT ROWID;
  CREATE TABLE totals(one INTEGER PRIMARY KEY CHECK(one = 1), sessions INTEGER NOT NULL,
    ids INTEGER NOT NULL);
  PRAGMA application_id = 0x4b567372;
  PRAGMA user_version = 1;
  COMMIT;
)sql";

absl::Status Refused(const std::string& path, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("session store '", path, "': ", std::string(why)));
}

absl::Status BadStructure(const std::string& path, std::string_view why) {
  // SQLite's answer has a title above it.
  if (const size_t title = why.find('\n'); title != why.npos) why.remove_prefix(title + 1);
  return SqliteStoreError(
      path, absl::StrCat("is damaged and cannot be used: ", std::string(why),
                         "; put a backup in its place, or what SQLite's tools can save of it"));
}

}  // namespace

uint64_t SqliteStore::Totals::Of(std::string_view id) {
  return crc32_z(0, reinterpret_cast<const Bytef*>(id.data()), id.size());
}

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(const std::string& path,
                                                               const char* vfs) {
  auto database = SqliteDatabase::Open(path, vfs);
  if (!database.ok()) return database.status();
  std::unique_ptr<SqliteStore> store(new SqliteStore(*std::move(database)));
  if (const absl::Status status = store->PrepareSchema(); !status.ok()) return status;
  if (const absl::Status status = store->PrepareStatements(); !status.ok()) return status;
  if (const absl::Status status = store->CheckSessions(); !status.ok()) return status;
  if (const absl::Status status = store->database_->RememberMade(); !status.ok()) return status;
  return store;
}

absl::Status SqliteStore::PrepareSchema() {
  const std::string& path = database_->path();
  const auto tables = database_->Number("SELECT count(*) FROM sqlite_schema");
  if (!tables.ok()) return tables.status();
  const auto application = database_->Number("PRAGMA application_id");
  if (!application.ok()) return application.status();
  const auto version = database_->Number("PRAGMA user_version");
  if (!version.ok()) return version.status();
  if (*tables == 0 && *application == 0 && *version == 0) {
    if (database_->made_before()) {
      return SqliteStoreError(path, absl::StrCat("is empty, but sessions have been stored in it; "
                                                 "without both it and '",
                                                 path, "-lock' a new one would be made"));
    }
    const absl::Status started = database_->StartLog();
    return started.ok() ? database_->Execute(kSchema) : started;
  }
  if (*application != kApplicationId) return Refused(path, "is not a session store");
  if (*version != kSchemaVersion) {
    return Refused(path, absl::StrCat("was written by another version of Kvasir (its schema is ",
                                      *version, ", known is ", kSchemaVersion, ")"));
  }
  return database_->StartLog();
}

absl::Status SqliteStore::PrepareStatements() {
  const std::pair<SqliteStatement*, const char*> statements[] = {
      {&get_record_, "SELECT record FROM sessions WHERE id = ?1"},
      {&put_record_, "REPLACE INTO sessions(id, expire_ms, record) VALUES(?1, ?2, ?3)"},
      {&delete_record_, "DELETE FROM sessions WHERE id = ?1"},
      {&list_, "SELECT id, record FROM sessions WHERE id > ?1 ORDER BY id"},
      {&expired_,
       "SELECT id, record FROM sessions WHERE expire_ms IS NOT NULL AND expire_ms <= ?1 "
       "ORDER BY expire_ms"},
      {&get_runs_, "SELECT data FROM runs WHERE id = ?1 ORDER BY start"},
      {&last_run_,
       "SELECT data FROM runs WHERE id = ?1 AND start < ?2 ORDER BY start DESC LIMIT 1"},
      {&put_run_, "INSERT INTO runs(id, start, data) VALUES(?1, ?2, ?3)"},
      {&delete_runs_, "DELETE FROM runs WHERE id = ?1 AND start >= ?2"},
      {&put_totals_, "REPLACE INTO totals(one, sessions, ids) VALUES(1, ?1, ?2)"},
  };
  for (const auto& [statement, sql] : statements) {
    if (const absl::Status status = statement->Prepare(*database_, sql); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status SqliteStore::CheckSessions() {
  const std::string& path = database_->path();
  // That no byte of the tree's pages is unaccounted for; it does not look at the order of keys.
  SqliteStatement check;
  if (const auto status = check.Prepare(*database_, "PRAGMA quick_check('sessions')");
      !status.ok()) {
    return status;
  }
  SqliteQuery structure(check);
  if (!structure.Next()) return structure.status();
  if (structure.Bytes(0) != "ok") return BadStructure(path, structure.Bytes(0));
  SqliteQuery rows(list_);
  rows.Text(1, "");
  std::string last_key;
  while (rows.Next()) {
    ++counts_.records_read;
    const bool text = rows.IsText(0);  // nothing else is found by its id
    const std::string_view key = rows.Bytes(0);
    const std::string id = IdInRecord(rows.Bytes(1));
    if (!text || (!id.empty() && id != key)) misplaced_.emplace(id.empty() ? key : id, key);
    // Out of order, a look-up could pass by any of them.
    if (key <= last_key) return BadStructure(path, "ids are out of order");
    last_key = key;
    ++totals_.sessions;
    totals_.ids += Totals::Of(id.empty() ? key : id);
  }
  if (!rows.status().ok()) return rows.status();

  SqliteStatement get_totals;
  if (const auto status = get_totals.Prepare(*database_, "SELECT sessions, ids FROM totals");
      !status.ok()) {
    return status;
  }
  SqliteQuery query(get_totals);
  if (query.Next()) {
    stored_totals_ = {static_cast<uint64_t>(query.Integer(0)),
                      static_cast<uint64_t>(query.Integer(1))};
    if (stored_totals_ == totals_) return absl::OkStatus();
    return SqliteStoreError(
        path, absl::StrCat("is damaged: it holds ", totals_.sessions, " sessions, not the ",
                           stored_totals_.sessions, " that were stored; `sqlite3 ", path,
                           " 'DELETE FROM totals'` makes do with these"));
  }
  if (!query.status().ok()) return query.status();
  // New, or an operator has accepted what is there.
  SqliteQuery put(put_totals_);
  put.Integer(1, static_cast<int64_t>(totals_.sessions));
  const absl::Status status = put.Integer(2, static_cast<int64_t>(totals_.ids)).Run();
  stored_totals_ = totals_;
  return status;
}

}  // namespace kvasir
