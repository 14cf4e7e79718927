#include "services/running_calls.h"

#include <utility>

#include "engine/check.h"
#include "engine/error.h"

namespace kvasir {

RunningCall::RunningCall(RunningCall&& other) noexcept
    : calls_(std::exchange(other.calls_, nullptr)), method_(other.method_), begin_(other.begin_) {}

RunningCall::~RunningCall() { KVASIR_CHECK(calls_ == nullptr); }

void RunningCall::End(absl::StatusCode code) {
  KVASIR_CHECK(calls_ != nullptr);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin_;
  calls_->metrics_.Record(method_, code, took.count());
  std::exchange(calls_, nullptr)->End();
}

absl::StatusOr<RunningCall> RunningCalls::Begin(std::string_view method) {
  {
    const std::lock_guard lock(mutex_);
    if (!draining_) {
      ++running_;
      return RunningCall(this, method);
    }
  }
  metrics_.Record(method, absl::StatusCode::kUnavailable, 0);
  return MakeError(Reason::kDraining, "the server is draining: it takes no new calls");
}

void RunningCalls::End() {
  absl::AnyInvocable<void()> idle;
  {
    const std::lock_guard lock(mutex_);
    if (--running_ == 0 && draining_) idle = std::exchange(idle_, nullptr);
  }
  if (idle) idle();
}

void RunningCalls::Drain(absl::AnyInvocable<void()> idle) {
  {
    const std::lock_guard lock(mutex_);
    KVASIR_CHECK(!draining_);
    draining_ = true;
    if (running_ > 0) {
      idle_ = std::move(idle);
      return;
    }
  }
  idle();
}

}  // namespace kvasir
