#include "tests/engine/wall_clock.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <ctime>

namespace {

std::atomic<int64_t> seconds_back = 0;

}  // namespace

// In the place of the C library's.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const long status = syscall(SYS_clock_gettime, clock, time);
  if (status == 0 && clock == CLOCK_REALTIME) time->tv_sec -= seconds_back;
  return static_cast<int>(status);
}

namespace kvasir::testing {

void SetWallClockBack(absl::Duration by) { seconds_back = absl::ToInt64Seconds(by); }

}  // namespace kvasir::testing
