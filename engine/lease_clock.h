#ifndef KVASIR_ENGINE_LEASE_CLOCK_H_
#define KVASIR_ENGINE_LEASE_CLOCK_H_

#include <chrono>
#include <ctime>

#include "engine/check.h"

namespace kvasir {

// What a lease's time is counted by: a clock that nobody sets, and that goes on while the machine
// sleeps, since others' clocks do.
struct LeaseClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<LeaseClock>;
  static constexpr bool is_steady = true;

  static time_point now() {
    timespec time = {};
    KVASIR_CHECK(clock_gettime(CLOCK_BOOTTIME, &time) == 0);
    return time_point(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
  }
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_LEASE_CLOCK_H_
