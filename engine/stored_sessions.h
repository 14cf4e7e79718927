#ifndef KVASIR_ENGINE_STORED_SESSIONS_H_
#define KVASIR_ENGINE_STORED_SESSIONS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/cache/session_table.h"
#include "engine/journal/journal.h"
#include "engine/mailbox.h"
#include "engine/tenant_usage.h"

namespace kvasir {

// The sessions in memory, and what a store has of them: brings a session into the table when it is
// asked for and this replica may write it, and what has become of it back to the store. Without a
// store the table is all there is, and every answer comes at once.
//
// Lives on the engine's thread; answers come on it, some at once, before the call returns.
class StoredSessions {
 public:
  struct Options {
    std::shared_ptr<SessionStore> store;  // null: sessions die with the process
    std::string fingerprint;              // of the model
    std::string numerics;
    absl::AnyInvocable<void(Mailbox::Task)> post;  // to the engine's thread
    // A session that is in use was lost to another replica, or its store has failed it.
    absl::AnyInvocable<void(Session&, const absl::Status&)> lost;
    TenantLimits limits;
    std::function<void(const std::string&)> warn;  // a line for the operator
  };
  StoredSessions(SessionTable& table, KvCache& cache, Options options);

  bool has_store() const { return has_store_; }

  // The session where no store need be asked: a call is on it, or this replica's lease holds.
  Session* Current(const std::string& id);

  using Found = absl::AnyInvocable<void(absl::StatusOr<Session*>)>;
  // The session in the table, owned by this replica. SESSION_NOT_FOUND; NOT_OWNER, STORE,
  // MODEL_CHANGED, SESSION_DAMAGED.
  void Own(const std::string& id, Found found);

  // A session's content, whoever owns it: the view is there for the time of the call.
  using Seen = absl::AnyInvocable<void(const absl::StatusOr<SessionView>&)>;
  void Read(const std::string& id, Seen seen);
  // As Read; its tokens may be missing.
  void Describe(const std::string& id, Seen seen);
  // As SessionTable::List, with those that are in no memory; tokens may be missing.
  struct Page {
    std::vector<SessionView> sessions;
    std::string next;
  };
  using Listed = absl::AnyInvocable<void(absl::StatusOr<Page>)>;
  void List(const std::string& after, const std::string& before, size_t count,
            const std::map<std::string, std::string>& labels, Listed listed);

  // Puts a new session into the store, then into the table, in the place of an expired one.
  // SESSION_EXISTS.
  void Create(std::unique_ptr<Session> session, Found created);
  // Create has begun with this id and not answered yet: nobody else may put one into the table.
  bool IsBeingCreated(const std::string& id) const { return creating_.contains(id); }

  using Saved = absl::AnyInvocable<void(const absl::Status&)>;
  // Makes durable what is to be of the session: its first `length` tokens, and `metadata`. Not OK:
  // what the store has is not known, and the session is to be dropped. LEASE_LOST: another replica
  // has written it since. REQUIRES: has_store(); this replica owns it, or it is new.
  void Save(Session& session, size_t length, const SessionMetadata& metadata, Saved saved);

  // A call begins to use the session, or has stopped to: others may take it some seconds later.
  void Hold(Session& session);
  void LetGo(Session& session);

  // What tenants keep. It follows what is saved; without a store, whoever changes how long a
  // session is tells by Settled.
  const TenantUsage& usage() const { return usage_; }
  void Settled(Session& session);

  // Out of memory. REQUIRES: not busy.
  void Drop(Session& session);
  // Out of memory and store. SESSION_NOT_FOUND. REQUIRES: no call is on it.
  void Delete(const std::string& id, Saved deleted);

  // What is to be done now and then: sessions expire, and those that nobody has used for long leave
  // the memory, having their place in the store. Returns when to come again.
  absl::Time Sweep(absl::Time now);

  // A session expires: Sweep is to look.
  void ExpectExpiry() {
    if (!has_store_) next_sweep_ = absl::InfinitePast();
  }

  // What was asked of the store since the last time is to be done: before the engine computes or
  // waits.
  void Submit() {
    if (journal_ != nullptr) journal_->Submit();
  }

  // Everything saved is durable, all leases are released; the answers have been posted. From then
  // on what concerns stored sessions is answered with DRAINING.
  void Close() { journal_.reset(); }

  uint64_t moves() const { return moves_; }
  Journal::Stats journal_stats() const;

 private:
  // Whether nobody else can have written a session that is in use here.
  bool IsFresh(const Session& session) const;
  // Until when a lease is trusted that is asked for now.
  LeaseClock::time_point TrustedEnd() const;
  // `known`: the version that was here when the store was asked.
  absl::StatusOr<Session*> Install(const std::string& id, std::optional<uint64_t> known,
                                   absl::StatusOr<OwnedSession> owned,
                                   LeaseClock::time_point lease_end);
  void WarnOfDamage(const std::vector<std::string>& ids);
  absl::Status CheckModel(const SessionRecord& record);
  void Replace(Session& session, const SessionRecord& record, std::vector<int> tokens);
  // Read and Describe, where the store need not be asked.
  bool SeeHere(const std::string& id, Seen& seen);
  // `tokens` may be null.
  void SeeStored(const absl::StatusOr<SessionRecord>& record, const std::vector<int>* tokens,
                 const std::string& id, Seen& seen);
  SessionView ViewOfStored(const SessionRecord& record, const std::vector<int>* tokens);
  // OK, unless the store has been closed.
  absl::Status CheckOpen() const;
  void CreateStored(std::unique_ptr<Session> session, Found created, bool replaces_expired);
  // It is in the store: into the table with it.
  void Enter(std::unique_ptr<Session> session, LeaseClock::time_point lease_end, Found created);
  // The id is taken, perhaps by one that has expired and that no sweep has found yet.
  void ReplaceExpired(std::unique_ptr<Session> session, Found created);
  void NotCreated(Session& session, const absl::Status& why, Found& created);
  // Deletes that version of it; version 0: it is damaged.
  void DeleteStored(const SessionRecord& record, Saved deleted);
  void CountUsage(const std::string& after);
  void Forget(const Session& session);

  SessionTable& table_;
  KvCache& cache_;
  const std::string fingerprint_, numerics_;
  absl::AnyInvocable<void(Session&, const absl::Status&)> lost_;
  std::function<void(const std::string&)> warn_;
  TenantUsage usage_;
  absl::Time next_count_ = absl::InfinitePast();
  std::string warned_numerics_;
  uint64_t moves_ = 0;
  std::set<std::string> warned_damaged_;
  std::multiset<std::string> creating_;  // ids
  absl::Time next_sweep_ = absl::InfinitePast();
  const bool has_store_;
  const bool is_shared_;              // the store
  std::unique_ptr<Journal> journal_;  // last: its end posts answers
};

absl::Status SessionNotFound(const std::string& id);
absl::Status SessionExists(const std::string& id);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_STORED_SESSIONS_H_
