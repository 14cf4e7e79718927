// What a build watches while kernels run: nothing (observe_none.cc), races (race.cc) or traffic
// (counts.cc). The kernels' own loads and stores come from tsan_hooks.cc; these are all others.
#ifndef KVASIR_TESTS_SIMT_OBSERVE_H_
#define KVASIR_TESTS_SIMT_OBSERVE_H_

#include <cstddef>

#include "tests/simt/block.h"

namespace simt::observe {

enum class Access { kRead, kWrite, kAtomic };
// By the running thread, from the code at `pc`.
void Touch(Access access, const void* p, size_t bytes, const void* pc);

void BeginLaunch(const Launch& launch);
void EndLaunch();
void BeginBlock(const Block& block);
void EndBlock(const Block& block);
// All threads of the block that have not exited have met.
void BlockMet(const Block& block);
// The lanes have met; in a __syncwarp, which orders memory, or in another collective.
void LanesMet(const Warp& warp, unsigned lanes, bool orders_memory);
void Fence();
// cp.async of 16 bytes; `from` is null where zeros are written. It lands between now and Landed.
void CopyIssued(const void* to, const void* from, const void* pc);
void CopyLanded(const void* to, const void* from, const void* pc);
// ldmatrix: eight rows of 16 bytes, row r read for the warp's lane first_lane + r.
void MatrixLoaded(const Warp& warp, const void* const (&rows)[8], unsigned first_lane,
                  const void* pc);
void Multiplied(double flops);
// Device memory that is given back.
void Forget(const void* p, size_t bytes);

}  // namespace simt::observe

#endif  // KVASIR_TESTS_SIMT_OBSERVE_H_
