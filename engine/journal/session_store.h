#ifndef KVASIR_ENGINE_JOURNAL_SESSION_STORE_H_
#define KVASIR_ENGINE_JOURNAL_SESSION_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/cache/session.h"

namespace kvasir {

// What a store keeps of a session besides its tokens.
struct SessionRecord {
  SessionMetadata metadata;
  std::string fingerprint;  // of the model that the token ids belong to
  std::string numerics;     // with which the last tokens were made
  uint64_t length = 0;      // tokens
  uint64_t version = 0;     // 1 when created, one more with every write
  // Not kept: its idle time had run out when it was read, by the store's clock. What a session's
  // users think of the time does not end it.
  bool expired = false;
};

struct StoredSession {
  SessionRecord record;
  std::vector<int> tokens;  // [record.length]
};

// The right to write a session, against all other replicas: the fencing token of Kleppmann's "How
// to do distributed locking" (2016), which grows with every take-over. 0: nobody's.
using Fence = uint64_t;

// A session that this replica owns from now on.
struct OwnedSession {
  SessionRecord record;
  // Not set where the store's version is the one that the caller has: it knows the tokens.
  std::optional<std::vector<int>> tokens;
  Fence fence = 0;          // in the place of the one that this replica had, which is void
  bool taken_over = false;  // another replica had owned it before
};

// One atomic change of one session.
struct SessionWrite {
  enum class Kind { kCreate, kUpdate, kDelete };
  Kind kind = Kind::kUpdate;
  // What the session is after it. `version` is that of before it (0 for kCreate): the write counts
  // only if the store still has that version, and makes it one more. Of kDelete only id, version:
  // nobody knows a damaged session's version, so 0 deletes one whatever its version and fence, and
  // is ABORTED where the session is not damaged.
  SessionRecord record;
  Fence fence = 0;  // as Acquire, or the session's creation, gave it; 0 for kCreate
  // The session's tokens are then its first `keep` ones, and `append` behind them.
  // record.length == keep + append.size(). keep == 0 for kCreate.
  uint64_t keep = 0;
  std::vector<int> append;

  // --- what came of it ---
  // OK: it is durable. ALREADY_EXISTS: kCreate, the id is taken. ABORTED: another replica has
  // written the session since, nothing was changed. UNAVAILABLE (STORE): the store failed; whether
  // the write has happened is not known, and Acquire tells.
  absl::Status status;
  Fence new_fence = 0;  // of kCreate, where OK
};

// Where sessions outlive the process. Called from one thread at a time; calls block.
//
// Errors, besides those named: UNAVAILABLE (STORE) where the store cannot be reached, is full or
// fails; DATA_LOSS (SESSION_DAMAGED, metadata session_id and field) where what is stored of a
// session is not what was written. A damaged session is never served and never repaired by
// guessing: it stays as it is, for an operator to look at, and may be deleted. Other sessions do
// not suffer from it.
class SessionStore {
 public:
  // A lease ends so long after it was last renewed, taken or written under. Its holder counts from
  // before the call that did so: from then on others may have the session, and what is in memory
  // may be old. It may still try to write: a write that does not fit is refused.
  static constexpr absl::Duration kLease = absl::Seconds(5);

  virtual ~SessionStore() = default;

  // Whether other processes may write the sessions, too: then leases end. Else nobody ever gets the
  // lease of one that this process has.
  virtual bool shared() const = 0;
  // As in --session-store, without a password.
  virtual std::string name() const = 0;
  // Why it keeps less than it promises, in one line for the operator; empty where it does not.
  virtual std::string warning() const { return ""; }

  // Takes the lease where it is free, has ended or is this replica's already, and loads the
  // session. `known`: the version that the caller has in memory, if any.
  // NOT_FOUND (SESSION_NOT_FOUND); UNAVAILABLE (NOT_OWNER, metadata owner) where another replica
  // holds the lease.
  virtual absl::StatusOr<OwnedSession> Acquire(const std::string& id,
                                               std::optional<uint64_t> known) = 0;
  // Reads a session whoever owns it.
  virtual absl::StatusOr<StoredSession> Load(const std::string& id) = 0;
  // As Load, without its tokens: damage to those is not found.
  virtual absl::StatusOr<SessionRecord> LoadRecord(const std::string& id) = 0;
  // Makes the changes durable together, each by itself atomic and with a status of its own. The
  // cost of one does not depend on how long its session is. A created session is owned by this
  // replica.  REQUIRES: at most one write a session.
  virtual void Write(std::span<SessionWrite> writes) = 0;

  struct Lease {
    std::string id;
    Fence fence = 0;
  };
  // Renews these leases for kLease from now on; returns those that are lost.
  virtual absl::StatusOr<std::vector<std::string>> Renew(std::span<const Lease> leases) = 0;
  // Others may take these sessions at once. Lost leases are passed over.
  virtual absl::Status Release(std::span<const Lease> leases) = 0;

  struct Page {
    std::vector<SessionRecord> records;
    std::vector<std::string> damaged;  // ids of sessions that are left out
    std::string next;                  // the next page begins after it; empty: this is the last
  };
  // Up to `count` sessions with ids after `after` and before `before` (empty: all), carrying all of
  // `labels`, ordered by id. Looks at no more than about kMostExamined, so a page may be short, or
  // empty, and not the last.
  virtual absl::StatusOr<Page> List(const std::string& after, const std::string& before,
                                    size_t count,
                                    const std::map<std::string, std::string>& labels) = 0;
  // Deletes up to 1,000 expired sessions whose lease is free or has ended, but those in use here;
  // returns their ids.
  virtual absl::StatusOr<std::vector<std::string>> Expire(const std::set<std::string>& in_use) = 0;

  // How many sessions it has, in all. Costs the same however many these are.
  virtual absl::StatusOr<uint64_t> Size() = 0;

  // What it has done since it was opened: counts for tests, benches and metrics.
  struct Counts {
    uint64_t commits = 0;  // of groups of writes: what makes them durable is asked for once each
    uint64_t records_read = 0;   // metadata and runs of tokens
    uint64_t bytes_written = 0;  // of records
  };
  virtual Counts counts() const = 0;
};

// --session-store=sqlite:PATH. Locks the file against other processes.
// INVALID_ARGUMENT or UNAVAILABLE naming the path.
absl::StatusOr<std::unique_ptr<SessionStore>> OpenSqliteStore(const std::string& path);

// --session-store=redis://[:PASSWORD@]HOST:PORT/DB. `owner`: this replica's address, as other
// replicas will tell it to their clients.
absl::StatusOr<std::unique_ptr<SessionStore>> OpenRedisStore(const std::string& url,
                                                             const std::string& owner);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_JOURNAL_SESSION_STORE_H_
