#ifndef KVASIR_TESTS_ENGINE_STORED_FAULT_STORE_H_
#define KVASIR_TESTS_ENGINE_STORED_FAULT_STORE_H_

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "engine/journal/session_store.h"

namespace kvasir::testing {

// A real store that fails, hangs or loses the outcome of what it is told to, and lets a test look
// at what is stored while an engine uses it. All methods may be called from any thread.
class FaultStore : public SessionStore {
 public:
  explicit FaultStore(std::unique_ptr<SessionStore> store) : store_(std::move(store)) {}

  // --- for the test ---

  enum class Fault {
    kNone,
    kFails,         // UNAVAILABLE, and nothing was written
    kLosesOutcome,  // UNAVAILABLE, but it was written
  };
  using Rule = std::function<Fault(const SessionWrite&)>;
  // What becomes of each write; null: nothing happens to any.
  void SetRule(Rule rule);
  void FailAllWrites() {
    SetRule([](const SessionWrite&) { return Fault::kFails; });
  }
  void Heal() { SetRule(nullptr); }
  // The next session that is asked for cannot be had: UNAVAILABLE.
  void FailNextAcquire();
  // Renewals do not come through: this replica cannot know whether its leases hold.
  void LoseRenewals(bool lose);

  // Every operation from now on waits, until LetGo.
  void Hang();
  // One waits.  REQUIRES: Hang() was called.
  void AwaitHanging();
  void LetGo();

  // What is stored now.
  absl::StatusOr<StoredSession> Peek(const std::string& id);
  // How often it was swept for sessions whose time has run out.
  int sweeps();

  // --- the store ---

  bool shared() const override { return store_->shared(); }
  std::string name() const override { return store_->name(); }
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
  absl::StatusOr<uint64_t> Size() override;
  Counts counts() const override;

 private:
  void WaitWhileHanging();

  const std::unique_ptr<SessionStore> store_;
  mutable std::mutex store_mutex_;  // of store_

  std::mutex mutex_;  // of all below
  std::condition_variable changed_;
  Rule rule_;
  bool loses_renewals_ = false, fails_acquire_ = false, hangs_ = false;
  int waiting_ = 0, sweeps_ = 0;
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_STORED_FAULT_STORE_H_
