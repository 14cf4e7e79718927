// What the stand-ins for CUDA's built-in functions are made of. Called by threads of the device
// alone unless said otherwise.
#ifndef KVASIR_TESTS_SIMT_INCLUDE_SIMT_CORE_H_
#define KVASIR_TESTS_SIMT_INCLUDE_SIMT_CORE_H_

#include <cstddef>
#include <cstdint>

#include "tests/simt/include/simt_vector.h"

// Last parameter of whatever may fail: the place that called it.
#define SIMT_HERE ::simt::Location where = ::simt::Location::Current()

namespace simt {

// A place in the source; as a default argument, that of the call.
struct Location {
  const char* file = nullptr;
  unsigned line = 0;
  static constexpr Location Current(const char* file = __builtin_FILE(),
                                    unsigned line = __builtin_LINE()) {
    return {file, line};
  }
};
inline constexpr unsigned kLanes = 32;
// The one warp collective that orders memory: its name, compared by address.
inline constexpr char kSyncWarp[] = "__syncwarp";

// Ends the process; names the running thread, if one is. From any thread.
[[noreturn]] __attribute__((cold, format(printf, 3, 4))) void Fail(const char* what, Location where,
                                                                   const char* format, ...);

// One lane's part in a collective of its warp.
struct Part {
  const char* name = nullptr;  // of the collective; null: the lane waits in none
  unsigned mask = 0;
  const void* in = nullptr;
  void* out = nullptr;
  Location where;
  const void* code = nullptr;  // the instruction behind the call
};
struct Warp {
  unsigned index = 0;
  unsigned lanes = 0;     // those that exist
  unsigned alive = 0;     // those that have not returned
  unsigned runnable = 0;  // alive and waiting for nothing
  unsigned in_warp = 0;   // waiting in a warp collective
  unsigned in_block = 0;  // waiting at the block's barrier
  Part parts[kLanes];
};

// Computes every lane's `out` from all lanes' `in`. Called once, when the last of `lanes` has come.
using Finish = void (*)(Warp& warp, unsigned lanes, unsigned argument);
// Returns when all lanes of `mask` that have not exited are here. Fails where the caller is not in
// the mask, or where lanes of one mask meet in different collectives, places or masks.
void WarpSync(unsigned mask, const char* name, const void* in, void* out, Finish finish,
              unsigned argument, Location where);
enum class BarrierResult { kNone, kAnd, kOr, kCount };
// __syncthreads and its kin. Fails where threads meet at different barriers.
int BlockSync(BarrierResult result, int predicate, Location where);

unsigned LaneIndex();
// The block's dynamic shared memory, 128-byte aligned; NaN until it is written.
void* DynamicShared();
// A static array of the block; `key` names the declaration.
void* StaticShared(const void* key, size_t bytes, Location where);
// A point where another thread may take over.
void Interrupt();
void Fence();
// Before an atomic operation on the word: one thread runs at a time, so the rest is a plain
// read-modify-write, which the builds that watch accesses do not see.
void BeginAtomic(const void* word, size_t bytes);

// cp.async of 16 bytes, zeros where !valid. Lands as late as it may, or at a random time before.
void CopyAsync(void* to, const void* from, bool valid, Location where);
void CopyAsyncCommit();
// Groups older than the newest `keep` have landed.
void CopyAsyncWait(unsigned keep);

// Finish functions.
void FinishNothing(Warp& warp, unsigned lanes, unsigned argument);
void FinishVote(Warp& warp, unsigned lanes, unsigned argument);
// in: `const void*`, lane 8 i + r that of row r of matrix i; out: uint32_t[4].  argument:
// transposed
void FinishLoadMatrices(Warp& warp, unsigned lanes, unsigned argument);
struct MultiplyIn {
  uint32_t a[4];
  uint32_t b[2];
  float c[4];
};
// in: MultiplyIn; out: float[4]
void FinishMultiply(Warp& warp, unsigned lanes, unsigned argument);

template <class T>
struct ShuffleIn {
  T value;
  unsigned from;  // lane
};
template <class T>
void FinishShuffle(Warp& warp, unsigned lanes, unsigned) {
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    const Part& part = warp.parts[__builtin_ctz(rest)];
    const unsigned from = static_cast<const ShuffleIn<T>*>(part.in)->from;
    if ((part.mask >> from & 1) == 0) {
      Fail("shuffle reads a lane that is not in the mask", part.where, "lane %u, mask %08x", from,
           part.mask);
    }
    if ((warp.alive >> from & 1) == 0) {
      Fail("shuffle reads an exited lane", part.where, "lane %u", from);
    }
    *static_cast<T*>(part.out) = static_cast<const ShuffleIn<T>*>(warp.parts[from].in)->value;
  }
}
template <class T>
T Shuffle(unsigned mask, T value, unsigned from, const char* name, Location where) {
  const ShuffleIn<T> in{value, from};
  T out;
  WarpSync(mask, name, &in, &out, &FinishShuffle<T>, 0, where);
  return out;
}

// Folds the lanes' values in order of lane.
template <class T, class Op>
T Reduce(unsigned mask, T value, const char* name, Location where) {
  T out;
  WarpSync(
      mask, name, &value, &out,
      [](Warp& warp, unsigned lanes, unsigned) {
        bool first = true;
        T total{};
        for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
          const T v = *static_cast<const T*>(warp.parts[__builtin_ctz(rest)].in);
          total = first ? v : Op()(total, v);
          first = false;
        }
        for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
          *static_cast<T*>(warp.parts[__builtin_ctz(rest)].out) = total;
        }
      },
      0, where);
  return out;
}

}  // namespace simt

// Set for the thread that runs.
extern uint3 threadIdx;
extern uint3 blockIdx;
extern uint3 blockDim;
extern uint3 gridDim;

#endif  // KVASIR_TESTS_SIMT_INCLUDE_SIMT_CORE_H_
