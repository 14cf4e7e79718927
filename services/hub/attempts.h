#ifndef KVASIR_SERVICES_HUB_ATTEMPTS_H_
#define KVASIR_SERVICES_HUB_ATTEMPTS_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/hub/cancellation.h"

namespace kvasir::hub {

struct AttemptLimits {
  int attempts = 5;  // that fail one after the other
  absl::Duration first_wait = absl::Seconds(1), longest_wait = absl::Seconds(8);
  absl::Duration longest_retry_after = absl::Minutes(5);  // that a server may ask for
};

// When to try again what failed: waits double, and are the server's own where it names one.
class Attempts {
 public:
  // `tell`: a line for the user.
  Attempts(const AttemptLimits& limits, const Cancellation& cancellation,
           const std::function<void(const std::string&)>& tell)
      : limits_(limits), cancellation_(cancellation), tell_(tell) {}

  // Something has come of the last attempt: failures are counted anew.
  void Progress() { failures_ = 0; }

  // Whether to try again after `failure`, once that time has come.
  bool Again(const absl::Status& failure);

 private:
  const AttemptLimits& limits_;
  const Cancellation& cancellation_;
  const std::function<void(const std::string&)>& tell_;
  int failures_ = 0;
};

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_ATTEMPTS_H_
