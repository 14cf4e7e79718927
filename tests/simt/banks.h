// How many passes shared memory and L2 need for one warp instruction.
#ifndef KVASIR_TESTS_SIMT_BANKS_H_
#define KVASIR_TESTS_SIMT_BANKS_H_

#include <cstddef>
#include <cstdint>

#include "tests/simt/include/simt_core.h"

namespace simt {

// What the lanes of `mask` touch, `bytes` each from their addresses on.
struct WarpAccess {
  unsigned lanes = 0;
  unsigned bytes = 0;
  uintptr_t addresses[kLanes];
};

// 32 banks of 4 bytes, one word a bank and wavefront. Up to 4 bytes a lane the whole warp is served
// together, for 8 bytes each half of it, for 16 each quarter.
struct Wavefronts {
  unsigned needed = 0;
  unsigned least = 0;
};
Wavefronts CountWavefronts(const WarpAccess& access);

// Distinct sectors, ascending, each as its address / kSectorBytes; returns their number.
// REQUIRES: room for 2 * kLanes.
unsigned ListSectors(const WarpAccess& access, uintptr_t* sectors);

}  // namespace simt

#endif  // KVASIR_TESTS_SIMT_BANKS_H_
