#include "tests/engine/stored/fault_store.h"

#include <utility>

#include "engine/error.h"

namespace kvasir::testing {
namespace {

absl::Status Failure() { return MakeError(Reason::kStore, "the store fails by a test's wish"); }

}  // namespace

void FaultStore::SetRule(Rule rule) {
  const std::lock_guard lock(mutex_);
  rule_ = std::move(rule);
}

void FaultStore::FailNextAcquire() {
  const std::lock_guard lock(mutex_);
  fails_acquire_ = true;
}

void FaultStore::LoseRenewals(bool lose) {
  const std::lock_guard lock(mutex_);
  loses_renewals_ = lose;
}

void FaultStore::Hang() {
  const std::lock_guard lock(mutex_);
  hangs_ = true;
}

void FaultStore::AwaitHanging() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return waiting_ > 0; });
}

void FaultStore::LetGo() {
  const std::lock_guard lock(mutex_);
  hangs_ = false;
  changed_.notify_all();
}

void FaultStore::WaitWhileHanging() {
  std::unique_lock lock(mutex_);
  ++waiting_;
  changed_.notify_all();
  changed_.wait(lock, [this] { return !hangs_; });
  --waiting_;
}

int FaultStore::sweeps() {
  const std::lock_guard lock(mutex_);
  return sweeps_;
}

absl::StatusOr<StoredSession> FaultStore::Peek(const std::string& id) {
  const std::lock_guard lock(store_mutex_);
  return store_->Load(id);
}

absl::StatusOr<OwnedSession> FaultStore::Acquire(const std::string& id,
                                                 std::optional<uint64_t> known) {
  WaitWhileHanging();
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(fails_acquire_, false)) return Failure();
  }
  const std::lock_guard lock(store_mutex_);
  return store_->Acquire(id, known);
}

absl::StatusOr<StoredSession> FaultStore::Load(const std::string& id) {
  WaitWhileHanging();
  return Peek(id);
}

void FaultStore::Write(std::span<SessionWrite> writes) {
  WaitWhileHanging();
  Rule rule;
  {
    const std::lock_guard lock(mutex_);
    rule = rule_;
  }
  std::vector<SessionWrite> passed;
  std::vector<std::pair<size_t, Fault>> places;
  for (size_t i = 0; i < writes.size(); ++i) {
    const Fault fault = rule ? rule(writes[i]) : Fault::kNone;
    if (fault == Fault::kFails) {
      writes[i].status = Failure();
      continue;
    }
    places.emplace_back(i, fault);
    passed.push_back(std::move(writes[i]));
  }
  if (!passed.empty()) {
    const std::lock_guard lock(store_mutex_);
    store_->Write(passed);
  }
  for (size_t i = 0; i < passed.size(); ++i) {
    if (places[i].second == Fault::kLosesOutcome) passed[i].status = Failure();
    writes[places[i].first] = std::move(passed[i]);
  }
}

absl::StatusOr<std::vector<std::string>> FaultStore::Renew(std::span<const Lease> leases) {
  WaitWhileHanging();
  {
    const std::lock_guard lock(mutex_);
    if (loses_renewals_) return Failure();
  }
  const std::lock_guard lock(store_mutex_);
  return store_->Renew(leases);
}

absl::Status FaultStore::Release(std::span<const Lease> leases) {
  WaitWhileHanging();
  const std::lock_guard lock(store_mutex_);
  return store_->Release(leases);
}

absl::StatusOr<SessionRecord> FaultStore::LoadRecord(const std::string& id) {
  WaitWhileHanging();
  const std::lock_guard lock(store_mutex_);
  return store_->LoadRecord(id);
}

absl::StatusOr<SessionStore::Page> FaultStore::List(
    const std::string& after, const std::string& before, size_t count,
    const std::map<std::string, std::string>& labels) {
  WaitWhileHanging();
  const std::lock_guard lock(store_mutex_);
  return store_->List(after, before, count, labels);
}

absl::StatusOr<std::vector<std::string>> FaultStore::Expire(const std::set<std::string>& in_use) {
  WaitWhileHanging();
  const std::lock_guard lock(store_mutex_);
  auto expired = store_->Expire(in_use);
  const std::lock_guard count(mutex_);
  ++sweeps_;
  return expired;
}

absl::StatusOr<uint64_t> FaultStore::Size() {
  WaitWhileHanging();
  const std::lock_guard lock(store_mutex_);
  return store_->Size();
}

SessionStore::Counts FaultStore::counts() const {
  const std::lock_guard lock(store_mutex_);
  return store_->counts();
}

}  // namespace kvasir::testing
