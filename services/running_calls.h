#ifndef KVASIR_SERVICES_RUNNING_CALLS_H_
#define KVASIR_SERVICES_RUNNING_CALLS_H_

#include <grpcpp/server_context.h>

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "services/auth/authenticator.h"
#include "services/auth/tenant_quotas.h"
#include "services/metrics.h"
#include "services/request_log.h"
#include "services/request_record.h"
#include "services/tracer.h"

namespace kvasir {

class RunningCalls;

// Who is told of RPCs that have ended.
struct RequestObservers {
  RequestMetrics& metrics;
  const RequestLog* log = nullptr;  // null: no lines
  Tracer* tracer = nullptr;         // null: no spans
  std::string_view service;         // of the RPCs, as in the proto: package and all
  std::string model;                // that spans of Generate name
};

// Who decides which RPCs are taken.
struct RequestGuards {
  const Authenticator* authenticator = nullptr;  // null: all callers are the default tenant
  TenantQuotas* quotas = nullptr;                // null: no limits
};

// One RPC, from its arrival until its status has been sent. Movable; ends exactly once.
class RunningCall {
 public:
  RunningCall(RunningCall&& other) noexcept = default;
  RunningCall& operator=(RunningCall&&) = delete;
  ~RunningCall();

  const RequestContext& context() const { return record_->context; }
  // For whoever handles the RPC to fill in.
  RequestRecord& record() { return *record_; }

  // REQUIRES: not ended, not moved from.
  void End(absl::Status status);

 private:
  friend class RunningCalls;
  RunningCall(RunningCalls* calls, std::unique_ptr<RequestRecord> record)
      : calls_(calls), record_(std::move(record)) {}

  RunningCalls* calls_;
  std::unique_ptr<RequestRecord> record_;  // null: ended or moved from
};

// The RPCs that a service has at work: each is counted, timed, logged and traced, and new ones are
// refused once the service drains. Thread-safe; outlives its calls.
class RunningCalls {
 public:
  // REQUIRES: what it refers to outlives this.
  explicit RunningCalls(RequestObservers observers, RequestGuards guards = {})
      : observers_(std::move(observers)), guards_(guards) {}

  // Takes part in the caller's trace and tells it of the RPC's own span. UNAUTHENTICATED where the
  // guards do not know the caller; UNAVAILABLE / DRAINING once Drain has been called;
  // RESOURCE_EXHAUSTED / QUOTA where the tenant has had its share. `method` is a
  // literal. `session_id`: as the caller sent it.
  absl::StatusOr<RunningCall> Begin(std::string_view method, grpc::CallbackServerContext& context,
                                    std::string_view session_id = "");

  // Whether RequestRecord::prompt is to be filled in.
  bool logs_prompts() const { return observers_.log != nullptr && observers_.log->prompts(); }

  // `idle` runs when the last call has ended, which may be at once, on any thread. Only once.
  void Drain(absl::AnyInvocable<void()> idle);

 private:
  friend class RunningCall;
  // Sets the tenant.
  absl::Status Admit(const grpc::CallbackServerContext& context, RequestContext& request) const;
  absl::Status Enter(const RequestContext& request);
  void End(RequestRecord& record);
  void Tell(RequestRecord& record) const;

  const RequestObservers observers_;
  const RequestGuards guards_;
  std::mutex mutex_;
  // guarded by mutex_
  int running_ = 0;
  bool draining_ = false;
  absl::AnyInvocable<void()> idle_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_RUNNING_CALLS_H_
