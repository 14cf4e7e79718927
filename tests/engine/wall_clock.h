#ifndef KVASIR_TESTS_ENGINE_WALL_CLOCK_H_
#define KVASIR_TESTS_ENGINE_WALL_CLOCK_H_

#include "absl/time/time.h"

namespace kvasir::testing {

// From now on this process finds the clock on the wall to be so much behind; clocks that nobody can
// set go on as they were.
void SetWallClockBack(absl::Duration by);

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_WALL_CLOCK_H_
