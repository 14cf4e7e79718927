#ifndef KVASIR_SERVICES_HUB_CANCELLATION_H_
#define KVASIR_SERVICES_HUB_CANCELLATION_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

namespace kvasir::hub {

// That work is no longer wanted. Thread-safe.
class Cancellation {
 public:
  void Cancel() {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    changed_.notify_all();
  }

  bool cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }

  // Sleeps so long, or until it is cancelled. Whether it is.
  bool WaitFor(absl::Duration time) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoMilliseconds(time), [&] { return cancelled_; });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool cancelled_ = false;
};

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_CANCELLATION_H_
