#ifndef KVASIR_ENGINE_JOURNAL_SQLITE_STORE_H_
#define KVASIR_ENGINE_JOURNAL_SQLITE_STORE_H_

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/journal/record_codec.h"
#include "engine/journal/session_store.h"
#include "engine/journal/sqlite_database.h"

namespace kvasir {

// Sessions in one SQLite file, in WAL mode: a group of writes is one transaction, durable by one
// fsync of the log. The file has one owner, so a lease is always free and never ends.
//
// What is promised where the file is damaged, below SQLite:
// - Opening reads every record (not the tokens) and the structure of the sessions' table. Where
//   that is damaged, or sessions are missing from it, the file is refused as a whole: nobody could
//   tell any more which sessions there are, and writing would do more harm. A backup (`sqlite3 PATH
//   '.backup COPY'`, also while the store is open) is what helps then. Damage within a record is
//   that session's alone, and so is damage to tokens, which is found when they are read.
// - No wrong tokens are ever given out, and no session is shorter than it was or missing. That
//   holds, too, where the disk has lost the writing of one page, since the record and the tokens do
//   not fit each other then. Only what involves no tokens can be as it was before: what List shows,
//   and a change of metadata alone.
// - The log (PATH-wal) is there while the store is open and after a crash. Each of its transactions
//   has a checksum over all before it; where that does not fit, SQLite takes the log to have ended
//   there, as after a power loss. So damage to the log of a store that crashed can take back the
//   last transactions, for all sessions alike; what is left is as it was then. A clean close
//   empties it.
class SqliteStore : public SessionStore {
 public:
  // `vfs`: SQLite's name of the file system; null for the operating system's.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(const std::string& path,
                                                           const char* vfs);

  bool shared() const override { return false; }
  std::string name() const override;
  absl::StatusOr<OwnedSession> Acquire(const std::string& id,
                                       std::optional<uint64_t> known) override;
  absl::StatusOr<StoredSession> Load(const std::string& id) override;
  absl::StatusOr<SessionRecord> LoadRecord(const std::string& id) override;
  void Write(std::span<SessionWrite> writes) override;
  absl::StatusOr<std::vector<std::string>> Renew(std::span<const Lease> leases) override;
  absl::Status Release(std::span<const Lease> leases) override;
  absl::StatusOr<Page> List(const std::string& after, const std::string& before, size_t count,
                            const std::map<std::string, std::string>& labels) override;
  absl::StatusOr<std::vector<std::string>> Expire(const std::set<std::string>& in_use) override;
  absl::StatusOr<uint64_t> Size() override { return totals_.sessions; }
  Counts counts() const override { return counts_; }

 private:
  // Which sessions there should be: a row of its own, changed with every creation and deletion.
  struct Totals {
    uint64_t sessions = 0;
    uint64_t ids = 0;  // the sum of Of() over them
    static uint64_t Of(std::string_view id);
    bool operator==(const Totals&) const = default;
  };

  explicit SqliteStore(std::unique_ptr<SqliteDatabase> database) : database_(std::move(database)) {}

  absl::Status PrepareSchema();
  absl::Status PrepareStatements();
  // Reads every record; see above.
  absl::Status CheckSessions();

  absl::StatusOr<DecodedRecord> ReadRecord(const std::string& id);
  absl::StatusOr<std::vector<int>> ReadTokens(const DecodedRecord& record);

  // One write of a transaction; an error leaves what must be rolled back.
  absl::Status Apply(const SessionWrite& write);
  absl::Status Create(const SessionWrite& write);
  absl::Status Update(const SessionWrite& write);
  absl::Status Delete(const SessionWrite& write);
  // The record and the runs behind write.keep.
  absl::Status Put(const SessionWrite& write, const DecodedRecord* before);
  absl::Status Erase(const std::string& key, const std::string& id);
  // OK where the session is damaged.
  absl::Status CheckDamaged(const std::string& id);

  absl::Status Commit();
  void RollBack(const Totals& before);

  std::unique_ptr<SqliteDatabase> database_;
  SqliteStatement get_record_, put_record_, delete_record_, list_, expired_;
  SqliteStatement get_runs_, last_run_, put_run_, delete_runs_, put_totals_;
  Totals totals_, stored_totals_;
  // Sessions whose record lies under another's key -> that key.
  std::map<std::string, std::string> misplaced_;
  Counts counts_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_JOURNAL_SQLITE_STORE_H_
