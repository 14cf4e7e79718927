#include "engine/journal/sqlite_store.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/check.h"
#include "engine/error.h"

namespace kvasir {
namespace {

constexpr Fence kFence = 1;  // the file's one owner
constexpr size_t kExpiredAtOnce = 1000;

absl::Status NotFound(const std::string& id) {
  return MakeError(Reason::kSessionNotFound, absl::StrCat("session_id: no session '", id, "'"),
                   {{"session_id", id}});
}

absl::Status Overtaken(const std::string& id) {
  return absl::AbortedError(
      absl::StrCat("session '", id, "': the store's version is not the one that was written to"));
}

std::optional<absl::Time> ExpiryOf(const SessionRecord& record) {
  if (!record.metadata.ttl) return std::nullopt;
  return record.metadata.last_use_time + *record.metadata.ttl;
}

absl::StatusOr<DecodedRecord> Decode(const std::string& id, std::string_view bytes,
                                     absl::Time now) {
  auto decoded = DecodeRecord(id, bytes);
  if (!decoded.ok()) return decoded;
  decoded->record.expired = ExpiryOf(decoded->record).value_or(absl::InfiniteFuture()) <= now;
  return decoded;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SessionStore>> OpenSqliteStore(const std::string& path) {
  return SqliteStore::Open(path, nullptr);
}

std::string SqliteStore::name() const { return absl::StrCat("sqlite:", database_->path()); }

// --- reading ---

absl::StatusOr<DecodedRecord> SqliteStore::ReadRecord(const std::string& id) {
  SqliteQuery query(get_record_);
  if (query.Text(1, id).Next()) {
    ++counts_.records_read;
    return Decode(id, query.Bytes(0), absl::Now());
  }
  if (!query.status().ok()) return query.StatusFor(id, "metadata");
  if (misplaced_.contains(id)) {
    return SessionDamaged(id, "metadata", "is found under another session's key");
  }
  return NotFound(id);
}

absl::StatusOr<std::vector<int>> SqliteStore::ReadTokens(const DecodedRecord& record) {
  TokensReader reader(record);
  SqliteQuery query(get_runs_);
  query.Text(1, record.record.metadata.id);
  while (query.Next()) {
    ++counts_.records_read;
    if (const absl::Status status = reader.Append(query.Bytes(0)); !status.ok()) return status;
  }
  if (!query.status().ok()) return query.StatusFor(record.record.metadata.id, "tokens");
  return reader.Finish();
}

absl::StatusOr<OwnedSession> SqliteStore::Acquire(const std::string& id,
                                                  std::optional<uint64_t> known) {
  auto record = ReadRecord(id);
  if (!record.ok()) return record.status();
  OwnedSession session;
  session.fence = kFence;
  if (known != record->record.version) {
    auto tokens = ReadTokens(*record);
    if (!tokens.ok()) return tokens.status();
    session.tokens = *std::move(tokens);
  }
  session.record = std::move(record->record);
  return session;
}

absl::StatusOr<StoredSession> SqliteStore::Load(const std::string& id) {
  auto session = Acquire(id, std::nullopt);
  if (!session.ok()) return session.status();
  return StoredSession{std::move(session->record), *std::move(session->tokens)};
}

absl::StatusOr<SessionRecord> SqliteStore::LoadRecord(const std::string& id) {
  auto record = ReadRecord(id);
  if (!record.ok()) return record.status();
  return std::move(record->record);
}

absl::StatusOr<SessionStore::Page> SqliteStore::List(
    const std::string& after, const std::string& before, size_t count,
    const std::map<std::string, std::string>& labels) {
  Page page;
  SqliteQuery query(list_);
  query.Text(1, after);
  const absl::Time now = absl::Now();
  std::string last;
  bool may_end = false;  // not after a damaged key: it is no place to go on from
  for (size_t examined = 0; query.Next(); ++examined) {
    if (!before.empty() && query.Bytes(0) >= before) break;
    if (may_end && (page.records.size() >= count || examined >= kMostExamined)) {
      page.next = std::move(last);
      break;
    }
    ++counts_.records_read;
    last = query.Bytes(0);
    auto record = Decode(last, query.Bytes(1), now);
    may_end = record.ok();
    if (!record.ok()) {
      const std::string id = IdInRecord(query.Bytes(1));
      page.damaged.push_back(id.empty() ? last : id);
    } else if (HasLabels(record->record.metadata, labels)) {
      page.records.push_back(std::move(record->record));
    }
  }
  if (!query.status().ok()) return query.status();
  return page;
}

// --- writing ---

void SqliteStore::Write(std::span<SessionWrite> writes) {
  const Totals before = totals_;
  size_t changes = 0;
  absl::Status store = database_->Execute("BEGIN IMMEDIATE");
  for (SessionWrite& write : writes) {
    write.status = store.ok() ? Apply(write) : store;
    if (write.status.ok()) ++changes;
    if (absl::IsUnavailable(write.status)) store = write.status;
  }
  if (store.ok() && changes > 0) store = Commit();
  if (!store.ok() || changes == 0) RollBack(before);
  for (SessionWrite& write : writes) {
    if (!store.ok() && write.status.ok()) write.status = store;
    if (!write.status.ok()) continue;
    if (write.kind == SessionWrite::Kind::kCreate) write.new_fence = kFence;
    if (write.kind == SessionWrite::Kind::kDelete) misplaced_.erase(write.record.metadata.id);
  }
}

absl::Status SqliteStore::Commit() {
  if (totals_ != stored_totals_) {
    SqliteQuery query(put_totals_);
    query.Integer(1, static_cast<int64_t>(totals_.sessions));
    const absl::Status status = query.Integer(2, static_cast<int64_t>(totals_.ids)).Run();
    if (!status.ok()) return status;
  }
  if (const absl::Status status = database_->Execute("COMMIT"); !status.ok()) return status;
  stored_totals_ = totals_;
  ++counts_.commits;
  return absl::OkStatus();
}

void SqliteStore::RollBack(const Totals& before) {
  totals_ = before;
  // Some errors have done it already.
  if (database_->in_transaction()) (void)database_->Execute("ROLLBACK");
}

absl::Status SqliteStore::Apply(const SessionWrite& write) {
  const Totals before = totals_;
  absl::Status status = database_->Execute("SAVEPOINT one_write");
  if (!status.ok()) return status;
  switch (write.kind) {
    case SessionWrite::Kind::kCreate:
      status = Create(write);
      break;
    case SessionWrite::Kind::kUpdate:
      status = Update(write);
      break;
    case SessionWrite::Kind::kDelete:
      status = Delete(write);
      break;
  }
  if (absl::IsUnavailable(status)) return status;  // all of the transaction goes
  if (!status.ok()) {
    totals_ = before;
    const absl::Status undone = database_->Execute("ROLLBACK TO one_write");
    if (!undone.ok()) return undone;
  }
  const absl::Status released = database_->Execute("RELEASE one_write");
  return released.ok() ? status : released;
}

absl::Status SqliteStore::Create(const SessionWrite& write) {
  const std::string& id = write.record.metadata.id;
  KVASIR_CHECK(write.keep == 0 && write.record.version == 0);
  const absl::Status found = ReadRecord(id).status();
  if (found.ok() || absl::IsDataLoss(found)) {
    return MakeError(Reason::kSessionExists, absl::StrCat("session '", id, "' exists already"),
                     {{"session_id", id}});
  }
  if (!absl::IsNotFound(found)) return found;
  ++totals_.sessions;
  totals_.ids += Totals::Of(id);
  return Put(write, nullptr);
}

absl::Status SqliteStore::Update(const SessionWrite& write) {
  const auto before = ReadRecord(write.record.metadata.id);
  if (absl::IsNotFound(before.status())) return Overtaken(write.record.metadata.id);
  if (!before.ok()) return before.status();
  if (before->record.version != write.record.version) {
    return Overtaken(write.record.metadata.id);
  }
  return Put(write, &*before);
}

absl::Status SqliteStore::Put(const SessionWrite& write, const DecodedRecord* before) {
  const std::string& id = write.record.metadata.id;
  KVASIR_CHECK(write.record.length == write.keep + write.append.size());
  KVASIR_CHECK(write.keep <= (before == nullptr ? 0 : before->record.length));
  std::optional<TokenRun> last;
  if (write.keep > 0) {
    SqliteQuery query(last_run_);
    query.Text(1, id).Integer(2, static_cast<int64_t>(write.keep));
    if (query.Next()) {
      ++counts_.records_read;
      auto run = DecodeRun(id, absl::StrCat("tokens up to ", write.keep), query.Bytes(0));
      if (!run.ok()) return run.status();
      last = *std::move(run);
    }
    if (!query.status().ok()) return query.StatusFor(id, "tokens");
  }
  if (before != nullptr && write.keep == before->record.length &&
      (last ? last->checksum : 0) != before->last_run) {
    return SessionDamaged(id, absl::StrCat("tokens up to ", write.keep),
                          "the last ones are not the record's");
  }
  const auto change = ChangeRuns(write, last ? &*last : nullptr);
  if (!change.ok()) return change.status();

  SqliteQuery cut(delete_runs_);
  cut.Text(1, id);
  if (!cut.Integer(2, static_cast<int64_t>(change->from)).Run().ok()) {
    return cut.StatusFor(id, "tokens");
  }
  for (const RunsChange::Run& run : change->runs) {
    SqliteQuery put(put_run_);
    put.Text(1, id).Integer(2, static_cast<int64_t>(run.start));
    if (!put.Blob(3, run.bytes).Run().ok()) return put.StatusFor(id, "tokens");
    counts_.bytes_written += run.bytes.size();
  }
  SessionRecord record = write.record;
  ++record.version;
  const std::string bytes = EncodeRecord(record, change->last_run);
  SqliteQuery put(put_record_);
  put.Text(1, id).Blob(3, bytes);
  if (const auto expiry = ExpiryOf(record)) put.Integer(2, absl::ToUnixMillis(*expiry));
  counts_.bytes_written += bytes.size();
  return put.Run().ok() ? absl::OkStatus() : put.StatusFor(id, "metadata");
}

absl::Status SqliteStore::Delete(const SessionWrite& write) {
  const std::string& id = write.record.metadata.id;
  if (write.record.version == 0) {
    const absl::Status damaged = CheckDamaged(id);
    if (!damaged.ok()) return damaged;
    const auto misplaced = misplaced_.find(id);
    return Erase(misplaced == misplaced_.end() ? id : misplaced->second, id);
  }
  const auto before = ReadRecord(id);
  if (absl::IsNotFound(before.status())) return Overtaken(id);
  if (!before.ok()) return before.status();
  return before->record.version == write.record.version ? Erase(id, id) : Overtaken(id);
}

absl::Status SqliteStore::CheckDamaged(const std::string& id) {
  for (const auto& [owner, key] : misplaced_) {
    if (key == id) return Overtaken(id);  // what lies there is the owner's
  }
  const absl::Status status = Load(id).status();
  if (absl::IsDataLoss(status)) return absl::OkStatus();
  return status.ok() || absl::IsNotFound(status) ? Overtaken(id) : status;
}

absl::Status SqliteStore::Erase(const std::string& key, const std::string& id) {
  --totals_.sessions;
  totals_.ids -= Totals::Of(id);
  SqliteQuery record(delete_record_);
  if (!record.Text(1, key).Run().ok()) return record.StatusFor(id, "metadata");
  if (sqlite3_changes(database_->connection()) != 1) {
    return SessionDamaged(id, "metadata", "cannot be found to delete it");
  }
  SqliteQuery runs(delete_runs_);
  return runs.Text(1, id).Integer(2, 0).Run().ok() ? absl::OkStatus()
                                                   : runs.StatusFor(id, "tokens");
}

absl::StatusOr<std::vector<std::string>> SqliteStore::Expire(const std::set<std::string>& in_use) {
  const absl::Time now = absl::Now();
  std::vector<SessionWrite> writes;
  {
    SqliteQuery query(expired_);
    query.Integer(1, absl::ToUnixMillis(now));
    while (writes.size() < kExpiredAtOnce && query.Next()) {
      ++counts_.records_read;
      const auto record = Decode(std::string(query.Bytes(0)), query.Bytes(1), now);
      // The column is in whole milliseconds, and a damaged session stays.
      if (!record.ok() || !record->record.expired) continue;
      if (in_use.contains(record->record.metadata.id)) continue;
      SessionWrite& write = writes.emplace_back();
      write.kind = SessionWrite::Kind::kDelete;
      write.record = record->record;
    }
    if (!query.status().ok()) return query.status();
  }
  if (!writes.empty()) Write(writes);
  std::vector<std::string> expired;
  for (const SessionWrite& write : writes) {
    if (absl::IsUnavailable(write.status)) return write.status;
    if (write.status.ok()) expired.push_back(write.record.metadata.id);
  }
  return expired;
}

// --- leases: the file has one owner ---

absl::StatusOr<std::vector<std::string>> SqliteStore::Renew(std::span<const Lease> /*leases*/) {
  return std::vector<std::string>();
}

absl::Status SqliteStore::Release(std::span<const Lease> /*leases*/) { return absl::OkStatus(); }

}  // namespace kvasir
