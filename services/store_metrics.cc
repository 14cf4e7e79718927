#include "services/store_metrics.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "engine/error.h"

namespace kvasir {
namespace {

using Clock = std::chrono::steady_clock;

// From a write into a page cache to a store that hangs.
const prometheus::Histogram::BucketBoundaries kSeconds = {0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03,
                                                          0.1,    0.3,    1,     3,     10};
constexpr std::chrono::seconds kCountEvery(15);

// The store's own failure; that another replica has a session is none.
bool IsFailure(const absl::Status& status) {
  return !status.ok() && DetailOf(status).reason == NameOf(Reason::kStore);
}

template <typename T>
bool IsFailure(const absl::StatusOr<T>& result) {
  return IsFailure(result.status());
}

}  // namespace

class StoreMetrics::ObservedStore final : public SessionStore {
  struct Operation {
    Operation(StoreMetrics& metrics, const char* name)
        : seconds(metrics.seconds_.Add({{"operation", name}}, kSeconds)),
          errors(metrics.errors_.Add({{"operation", name}})) {}
    prometheus::Histogram& seconds;
    prometheus::Counter& errors;
  };

  template <typename Call>
  auto Timed(Operation& operation, Call call) {
    const Clock::time_point begun = Clock::now();
    auto result = call();
    operation.seconds.Observe(std::chrono::duration<double>(Clock::now() - begun).count());
    const bool failed = IsFailure(result);
    if (failed) operation.errors.Increment();
    metrics_.reachable_ = !failed;
    metrics_.reachable_gauge_.Set(failed ? 0 : 1);
    return result;
  }

 public:
  ObservedStore(StoreMetrics& metrics, std::shared_ptr<SessionStore> store)
      : metrics_(metrics), store_(std::move(store)) {
    CountSessions();
  }

  bool shared() const override { return store_->shared(); }
  std::string name() const override { return store_->name(); }
  std::string warning() const override { return store_->warning(); }
  absl::StatusOr<OwnedSession> Acquire(const std::string& id,
                                       std::optional<uint64_t> known) override {
    return Timed(acquire_, [&] { return store_->Acquire(id, known); });
  }
  absl::StatusOr<StoredSession> Load(const std::string& id) override {
    return Timed(load_, [&] { return store_->Load(id); });
  }
  absl::StatusOr<SessionRecord> LoadRecord(const std::string& id) override {
    return Timed(load_, [&] { return store_->LoadRecord(id); });
  }
  void Write(std::span<SessionWrite> writes) override {
    (void)Timed(write_, [&] {
      store_->Write(writes);
      const auto failed = std::find_if(writes.begin(), writes.end(), [](const SessionWrite& write) {
        return IsFailure(write.status);
      });
      return failed == writes.end() ? absl::OkStatus() : failed->status;
    });
    metrics_.written_bytes_.Increment(static_cast<double>(store_->counts().bytes_written) -
                                      metrics_.written_bytes_.Value());
  }
  absl::StatusOr<std::vector<std::string>> Renew(std::span<const Lease> leases) override {
    return Timed(renew_, [&] { return store_->Renew(leases); });
  }
  absl::Status Release(std::span<const Lease> leases) override {
    return Timed(release_, [&] { return store_->Release(leases); });
  }
  absl::StatusOr<Page> List(const std::string& after, const std::string& before, size_t count,
                            const std::map<std::string, std::string>& labels) override {
    return Timed(list_, [&] { return store_->List(after, before, count, labels); });
  }
  absl::StatusOr<std::vector<std::string>> Expire(const std::set<std::string>& in_use) override {
    auto expired = Timed(expire_, [&] { return store_->Expire(in_use); });
    if (expired.ok() && Clock::now() >= next_count_) CountSessions();
    return expired;
  }
  absl::StatusOr<uint64_t> Size() override { return store_->Size(); }
  Counts counts() const override { return store_->counts(); }

 private:
  void CountSessions() {
    next_count_ = Clock::now() + kCountEvery;
    const absl::StatusOr<uint64_t> size = store_->Size();
    if (size.ok()) metrics_.sessions_.Set(static_cast<double>(*size));
  }

  StoreMetrics& metrics_;
  const std::shared_ptr<SessionStore> store_;
  Operation acquire_{metrics_, "acquire"}, load_{metrics_, "load"}, write_{metrics_, "write"},
      renew_{metrics_, "renew"}, release_{metrics_, "release"}, list_{metrics_, "list"},
      expire_{metrics_, "expire"};
  Clock::time_point next_count_;
};

StoreMetrics::StoreMetrics(prometheus::Registry& registry)
    : seconds_(prometheus::BuildHistogram()
                   .Name("kvasir_session_store_operation_seconds")
                   .Help("Time of one operation of the session store; a write is a group of them")
                   .Register(registry)),
      errors_(prometheus::BuildCounter()
                  .Name("kvasir_session_store_errors_total")
                  .Help("Operations of the session store that it failed")
                  .Register(registry)),
      reachable_gauge_(prometheus::BuildGauge()
                           .Name("kvasir_session_store_reachable")
                           .Help("1: the session store did what it was asked last")
                           .Register(registry)
                           .Add({})),
      sessions_(prometheus::BuildGauge()
                    .Name("kvasir_session_store_sessions")
                    .Help("Sessions in the store, all replicas' together")
                    .Register(registry)
                    .Add({})),
      written_bytes_(prometheus::BuildCounter()
                         .Name("kvasir_session_store_written_bytes_total")
                         .Help("Bytes of records written to the session store")
                         .Register(registry)
                         .Add({})) {
  reachable_gauge_.Set(1);
}

std::unique_ptr<SessionStore> StoreMetrics::Observe(std::shared_ptr<SessionStore> store) {
  return std::make_unique<ObservedStore>(*this, std::move(store));
}

}  // namespace kvasir
