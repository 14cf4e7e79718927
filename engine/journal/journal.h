#ifndef KVASIR_ENGINE_JOURNAL_JOURNAL_H_
#define KVASIR_ENGINE_JOURNAL_JOURNAL_H_

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/journal/session_store.h"
#include "engine/lease_clock.h"

namespace kvasir {

// The thread before a SessionStore: its owner posts operations and never waits for a disk.
//
// Operations happen in the order in which they were posted, from Submit on. All writes that wait
// behind each other are one store.Write: what arrives while one is being made durable becomes the
// next. Two writes of one session are never in the same.
//
// Leases are the journal's own: a session's lease is held, and renewed in time, from a successful
// Acquire, creation or Hold until LetLapse, Release, deletion or loss.
class Journal {
 public:
  using Task = absl::AnyInvocable<void()>;
  template <typename Result>
  using Done = absl::AnyInvocable<void(Result)>;

  // Three fit in a lease: one may fail and be tried again.
  static constexpr absl::Duration kRenewal = absl::Milliseconds(1500);

  // Of the leases that were held, those of the sessions `renewed` are this replica's for
  // SessionStore::kLease from `asked` on; another replica has taken those of `lost`.
  using Renewed =
      absl::AnyInvocable<void(LeaseClock::time_point asked, const std::vector<std::string>& renewed,
                              const std::vector<std::string>& lost)>;

  // All callbacks are handed to `post`, on the journal's thread, to be run on the owner's.
  Journal(std::shared_ptr<SessionStore> store, absl::AnyInvocable<void(Task)> post, Renewed renewed,
          absl::Duration renewal = kRenewal);
  // Does all that was posted, releases every lease and ends the thread. `post` may be called until
  // it returns.
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // --- from the owner's thread ---

  // What was posted is to be done now. An owner posts all that it has and then submits, before it
  // computes or waits: turns that end together are one commit, and the journal's thread takes the
  // processor once.
  void Submit();

  // `done` gets the write back, with what came of it. Its fence is that of the lease.
  void Write(SessionWrite write, Done<SessionWrite&&> done);
  void Acquire(std::string id, std::optional<uint64_t> known,
               Done<absl::StatusOr<OwnedSession>> done);
  void Load(std::string id, Done<absl::StatusOr<StoredSession>> done);
  void LoadRecord(std::string id, Done<absl::StatusOr<SessionRecord>> done);
  void List(std::string after, std::string before, size_t count,
            std::map<std::string, std::string> labels,
            Done<absl::StatusOr<SessionStore::Page>> done);
  void Expire(Done<absl::StatusOr<std::vector<std::string>>> done);
  // The session is in use again: its lease is renewed in time, at once where it has become old.
  // Nothing where there is no lease.
  void Hold(std::string id);
  // The session is not in use any more: its lease is this replica's until it ends by itself.
  void LetLapse(std::string id);
  // Others may take the session at once. Nothing where there is no lease.
  void Release(std::string id);
  // Runs when all that was posted before has been done, and its callbacks are posted.
  void Flush(Task done);

  // --- from any thread ---

  struct Stats {
    uint64_t groups = 0;       // calls of store.Write
    uint64_t writes = 0;       // in them
    double write_seconds = 0;  // spent in them
    uint64_t waiting = 0;      // operations posted and not done yet
  };
  Stats stats() const;

 private:
  struct Operation {
    // A write, or anything else.
    std::optional<SessionWrite> write;
    Done<SessionWrite&&> written;
    Task run;
  };
  struct Lease {
    Fence fence = 0;
    bool held = true;
    LeaseClock::time_point taken_or_renewed;  // when the store was asked for it
  };

  void Enqueue(Operation operation);
  void Enqueue(Task run);
  // About a lease: where nobody else can want it, that waits for the next operation.
  void EnqueueForLease(Task run);

  // --- on the journal's thread ---
  void Loop();
  // Waits for operations, or until leases are to be renewed. False: the end.
  bool Take(std::vector<Operation>& operations);
  // Does the operations from `first` on that belong together; returns the first one after them.
  size_t DoNext(std::vector<Operation>& operations, size_t first);
  void DoWrites(std::span<Operation> group);
  void NoteLease(const std::string& id, Fence fence, LeaseClock::time_point asked);
  void RenewIfDue();
  void ReleaseAll();

  const std::shared_ptr<SessionStore> store_;
  absl::AnyInvocable<void(Task)> post_;
  const std::shared_ptr<Renewed> renewed_;  // what was posted may outlive the journal
  const LeaseClock::duration renewal_;

  std::vector<Operation> posted_;  // not submitted yet; the owner's thread alone
  bool wakes_ = false;             // one of them does not wait for others

  std::map<std::string, Lease> leases_;  // the journal's thread alone
  LeaseClock::time_point next_renewal_;

  std::atomic<uint64_t> groups_ = 0, writes_ = 0, waiting_ = 0;
  std::atomic<int64_t> write_nanoseconds_ = 0;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Operation> queue_;
  bool ending_ = false;

  std::thread thread_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_JOURNAL_JOURNAL_H_
