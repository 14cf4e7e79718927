#include "engine/journal/journal.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <set>
#include <span>
#include <utility>

namespace kvasir {

Journal::Journal(std::shared_ptr<SessionStore> store, absl::AnyInvocable<void(Task)> post,
                 Renewed renewed, absl::Duration renewal)
    : store_(std::move(store)),
      post_(std::move(post)),
      renewed_(std::make_shared<Renewed>(std::move(renewed))),
      renewal_(absl::ToChronoNanoseconds(renewal)),
      next_renewal_(LeaseClock::now() + renewal_),
      thread_([this] { Loop(); }) {}

Journal::~Journal() {
  Submit();
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

// --- the owner's side ---

void Journal::Enqueue(Operation operation) {
  waiting_.fetch_add(1, std::memory_order_relaxed);
  posted_.push_back(std::move(operation));
  wakes_ = true;
}

void Journal::Submit() {
  if (!std::exchange(wakes_, false)) return;
  {
    const std::lock_guard lock(mutex_);
    std::move(posted_.begin(), posted_.end(), std::back_inserter(queue_));
  }
  posted_.clear();
  wake_.notify_one();
}

void Journal::Enqueue(Task run) {
  Operation operation;
  operation.run = std::move(run);
  Enqueue(std::move(operation));
}

void Journal::EnqueueForLease(Task run) {
  const bool wakes = wakes_ || store_->shared();
  Enqueue(std::move(run));
  wakes_ = wakes;
}

void Journal::Write(SessionWrite write, Done<SessionWrite&&> done) {
  Operation operation;
  operation.write = std::move(write);
  operation.written = std::move(done);
  Enqueue(std::move(operation));
}

void Journal::Acquire(std::string id, std::optional<uint64_t> known,
                      Done<absl::StatusOr<OwnedSession>> done) {
  Enqueue([this, id = std::move(id), known, done = std::move(done)]() mutable {
    const LeaseClock::time_point asked = LeaseClock::now();
    auto session = store_->Acquire(id, known);
    if (session.ok()) NoteLease(id, session->fence, asked);
    post_([done = std::move(done), session = std::move(session)]() mutable {
      done(std::move(session));
    });
  });
}

void Journal::Load(std::string id, Done<absl::StatusOr<StoredSession>> done) {
  Enqueue([this, id = std::move(id), done = std::move(done)]() mutable {
    post_([done = std::move(done), session = store_->Load(id)]() mutable {
      done(std::move(session));
    });
  });
}

void Journal::LoadRecord(std::string id, Done<absl::StatusOr<SessionRecord>> done) {
  Enqueue([this, id = std::move(id), done = std::move(done)]() mutable {
    post_([done = std::move(done), record = store_->LoadRecord(id)]() mutable {
      done(std::move(record));
    });
  });
}

void Journal::List(std::string after, std::string before, size_t count,
                   std::map<std::string, std::string> labels,
                   Done<absl::StatusOr<SessionStore::Page>> done) {
  Enqueue([this, after = std::move(after), before = std::move(before), count,
           labels = std::move(labels), done = std::move(done)]() mutable {
    post_([done = std::move(done), page = store_->List(after, before, count, labels)]() mutable {
      done(std::move(page));
    });
  });
}

void Journal::Expire(Done<absl::StatusOr<std::vector<std::string>>> done) {
  Enqueue([this, done = std::move(done)]() mutable {
    std::set<std::string> in_use;
    for (const auto& [id, lease] : leases_) {
      if (lease.held) in_use.insert(id);
    }
    auto expired = store_->Expire(in_use);
    if (expired.ok()) {
      for (const std::string& id : *expired) leases_.erase(id);
    }
    post_([done = std::move(done), expired = std::move(expired)]() mutable {
      done(std::move(expired));
    });
  });
}

void Journal::Hold(std::string id) {
  EnqueueForLease([this, id = std::move(id)] {
    const auto lease = leases_.find(id);
    if (lease == leases_.end()) return;
    lease->second.held = true;
    // Its third renewal, were it held all the time, so that one more may fail before its end.
    next_renewal_ = std::min(next_renewal_, lease->second.taken_or_renewed + 2 * renewal_);
  });
}

void Journal::LetLapse(std::string id) {
  EnqueueForLease([this, id = std::move(id)] {
    if (const auto lease = leases_.find(id); lease != leases_.end()) lease->second.held = false;
  });
}

void Journal::Release(std::string id) {
  Enqueue([this, id = std::move(id)] {
    const auto lease = leases_.find(id);
    if (lease == leases_.end()) return;
    const SessionStore::Lease released = {id, lease->second.fence};
    leases_.erase(lease);
    (void)store_->Release({&released, 1});  // a lease that cannot be released ends by itself
  });
}

void Journal::Flush(Task done) {
  Enqueue([this, done = std::move(done)]() mutable { post_(std::move(done)); });
}

Journal::Stats Journal::stats() const {
  return {groups_.load(std::memory_order_relaxed), writes_.load(std::memory_order_relaxed),
          static_cast<double>(write_nanoseconds_.load(std::memory_order_relaxed)) * 1e-9,
          waiting_.load(std::memory_order_relaxed)};
}

// --- the journal's thread ---

void Journal::Loop() {
  std::vector<Operation> operations;
  while (Take(operations)) {
    RenewIfDue();
    for (size_t next = 0; next < operations.size();) {
      const size_t first = next;
      next = DoNext(operations, first);
      waiting_.fetch_sub(next - first, std::memory_order_relaxed);
      RenewIfDue();  // however long the queue is
    }
  }
  ReleaseAll();
}

bool Journal::Take(std::vector<Operation>& operations) {
  operations.clear();
  std::unique_lock lock(mutex_);
  const auto some = [this] { return ending_ || !queue_.empty(); };
  if (leases_.empty()) {
    wake_.wait(lock, some);
  } else {
    wake_.wait_until(lock, next_renewal_, some);
  }
  operations.swap(queue_);
  return !operations.empty() || !ending_;
}

size_t Journal::DoNext(std::vector<Operation>& operations, size_t first) {
  if (!operations[first].write) {
    operations[first].run();
    return first + 1;
  }
  std::set<std::string> sessions;
  size_t end = first;
  while (end < operations.size() && operations[end].write &&
         sessions.insert(operations[end].write->record.metadata.id).second) {
    ++end;
  }
  DoWrites(std::span(operations).subspan(first, end - first));
  return end;
}

void Journal::DoWrites(std::span<Operation> group) {
  std::vector<SessionWrite> writes;
  writes.reserve(group.size());
  for (Operation& operation : group) {
    SessionWrite& write = writes.emplace_back(*std::move(operation.write));
    const auto lease = leases_.find(write.record.metadata.id);
    if (write.kind != SessionWrite::Kind::kCreate && lease != leases_.end()) {
      write.fence = lease->second.fence;
    }
  }
  const LeaseClock::time_point start = LeaseClock::now();
  store_->Write(writes);
  const LeaseClock::duration spent = LeaseClock::now() - start;
  groups_.fetch_add(1, std::memory_order_relaxed);
  writes_.fetch_add(writes.size(), std::memory_order_relaxed);
  write_nanoseconds_.fetch_add(spent.count(), std::memory_order_relaxed);

  std::vector<Done<SessionWrite&&>> callbacks;
  callbacks.reserve(group.size());
  for (size_t i = 0; i < group.size(); ++i) {
    const SessionWrite& write = writes[i];
    if (write.status.ok()) {
      const std::string& id = write.record.metadata.id;
      if (write.kind == SessionWrite::Kind::kCreate) NoteLease(id, write.new_fence, start);
      if (write.kind == SessionWrite::Kind::kDelete) leases_.erase(id);
      const auto lease = leases_.find(id);
      if (lease != leases_.end()) lease->second.taken_or_renewed = start;  // the store did that
    }
    callbacks.push_back(std::move(group[i].written));
  }
  post_([callbacks = std::move(callbacks), writes = std::move(writes)]() mutable {
    for (size_t i = 0; i < writes.size(); ++i) callbacks[i](std::move(writes[i]));
  });
}

void Journal::NoteLease(const std::string& id, Fence fence, LeaseClock::time_point asked) {
  leases_[id] = {fence, true, asked};
}

void Journal::RenewIfDue() {
  const LeaseClock::time_point now = LeaseClock::now();
  if (now < next_renewal_) return;
  next_renewal_ = now + renewal_;
  // Longer than they last: a Hold may be on its way, and whether it comes too late the store knows.
  const LeaseClock::duration remembered = 2 * absl::ToChronoNanoseconds(SessionStore::kLease);
  std::erase_if(leases_, [&](const auto& lease) {
    return !lease.second.held && now - lease.second.taken_or_renewed > remembered;
  });
  std::vector<SessionStore::Lease> held;
  for (const auto& [id, lease] : leases_) {
    if (lease.held) held.push_back({id, lease.fence});
  }
  if (held.empty()) return;
  auto lost = store_->Renew(held);
  if (!lost.ok()) return;  // tried again in time; who has really lost one learns it at a write
  for (const std::string& id : *lost) leases_.erase(id);
  std::vector<std::string> renewed;
  for (SessionStore::Lease& lease : held) {
    const auto kept = leases_.find(lease.id);
    if (kept == leases_.end()) continue;
    kept->second.taken_or_renewed = now;
    renewed.push_back(std::move(lease.id));
  }
  post_([callback = renewed_, asked = now, renewed = std::move(renewed), lost = *std::move(lost)] {
    (*callback)(asked, renewed, lost);
  });
}

void Journal::ReleaseAll() {
  std::vector<SessionStore::Lease> leases;
  for (const auto& [id, lease] : leases_) leases.push_back({id, lease.fence});
  if (!leases.empty()) (void)store_->Release(leases);
}

}  // namespace kvasir
