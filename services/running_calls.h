#ifndef KVASIR_SERVICES_RUNNING_CALLS_H_
#define KVASIR_SERVICES_RUNNING_CALLS_H_

#include <chrono>
#include <mutex>
#include <string_view>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "services/metrics.h"

namespace kvasir {

class RunningCalls;

// One RPC, from its arrival until its status has been sent. Movable; ends exactly once.
class RunningCall {
 public:
  RunningCall(RunningCall&& other) noexcept;
  RunningCall& operator=(RunningCall&&) = delete;
  ~RunningCall();

  // REQUIRES: not ended, not moved from.
  void End(absl::StatusCode code);

 private:
  friend class RunningCalls;
  RunningCall(RunningCalls* calls, std::string_view method)
      : calls_(calls), method_(method), begin_(std::chrono::steady_clock::now()) {}

  RunningCalls* calls_;  // null: ended or moved from
  std::string_view method_;
  std::chrono::steady_clock::time_point begin_;
};

// The RPCs that a service has at work: each is counted and timed, and new ones are refused once the
// service drains. Thread-safe; outlives its calls.
class RunningCalls {
 public:
  explicit RunningCalls(RequestMetrics& metrics) : metrics_(metrics) {}

  // UNAVAILABLE / DRAINING once Drain has been called. `method` is a literal.
  absl::StatusOr<RunningCall> Begin(std::string_view method);

  // `idle` runs when the last call has ended, which may be at once, on any thread. Only once.
  void Drain(absl::AnyInvocable<void()> idle);

 private:
  friend class RunningCall;
  void End();

  RequestMetrics& metrics_;
  std::mutex mutex_;
  // guarded by mutex_
  int running_ = 0;
  bool draining_ = false;
  absl::AnyInvocable<void()> idle_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_RUNNING_CALLS_H_
