// CUDA's built-in device functions.
#ifndef KVASIR_TESTS_SIMT_INCLUDE_SIMT_DEVICE_H_
#define KVASIR_TESTS_SIMT_INCLUDE_SIMT_DEVICE_H_

#include <math.h>  // NOLINT(modernize-deprecated-headers): kernels call expf, not std::exp

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <type_traits>

#include "tests/simt/include/simt_core.h"

inline constexpr int warpSize = 32;

inline void __syncthreads(SIMT_HERE) { simt::BlockSync(simt::BarrierResult::kNone, 0, where); }
inline int __syncthreads_and(int predicate, SIMT_HERE) {
  return simt::BlockSync(simt::BarrierResult::kAnd, predicate, where);
}
inline int __syncthreads_or(int predicate, SIMT_HERE) {
  return simt::BlockSync(simt::BarrierResult::kOr, predicate, where);
}
inline int __syncthreads_count(int predicate, SIMT_HERE) {
  return simt::BlockSync(simt::BarrierResult::kCount, predicate, where);
}
inline void __syncwarp(unsigned mask = ~0u, SIMT_HERE) {
  simt::WarpSync(mask, simt::kSyncWarp, nullptr, nullptr, simt::FinishNothing, 0, where);
}
inline void __threadfence() { simt::Fence(); }
inline void __threadfence_block() { simt::Interrupt(); }

// A shuffle's source lane, as the PTX ISA has it: out of the segment, the lane itself.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_HERE) {
  const int lane = simt::LaneIndex();
  const unsigned from = (lane & ~(width - 1)) | (source & (width - 1));
  return simt::Shuffle(mask, value, from, "__shfl_sync", where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, SIMT_HERE) {
  const int lane = simt::LaneIndex();
  const int source = lane ^ lane_mask;
  const bool outside = source >= (lane & ~(width - 1)) + width;
  return simt::Shuffle(mask, value, unsigned(outside ? lane : source), "__shfl_xor_sync", where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_HERE) {
  const unsigned lane = simt::LaneIndex();
  const bool outside = (lane & (width - 1)) + delta >= unsigned(width);
  return simt::Shuffle(mask, value, outside ? lane : lane + delta, "__shfl_down_sync", where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_HERE) {
  const unsigned lane = simt::LaneIndex();
  const bool outside = (lane & (width - 1)) < delta;
  return simt::Shuffle(mask, value, outside ? lane : lane - delta, "__shfl_up_sync", where);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_HERE) {
  unsigned votes;
  simt::WarpSync(mask, "__ballot_sync", &predicate, &votes, simt::FinishVote, 0, where);
  return votes;
}
inline int __any_sync(unsigned mask, int predicate, SIMT_HERE) {
  unsigned votes;
  simt::WarpSync(mask, "__any_sync", &predicate, &votes, simt::FinishVote, 0, where);
  return votes != 0;
}
inline int __all_sync(unsigned mask, int predicate, SIMT_HERE) {
  const int negated = predicate == 0;
  unsigned votes;
  simt::WarpSync(mask, "__all_sync", &negated, &votes, simt::FinishVote, 0, where);
  return votes == 0;
}

namespace simt {
struct Min {
  template <class T>
  T operator()(T a, T b) const {
    return std::min(a, b);
  }
};
struct Max {
  template <class T>
  T operator()(T a, T b) const {
    return std::max(a, b);
  }
};
}  // namespace simt
#define SIMT_REDUCTION(name, T, Op)                        \
  inline T name(unsigned mask, T value, SIMT_HERE) {       \
    return simt::Reduce<T, Op>(mask, value, #name, where); \
  }
SIMT_REDUCTION(__reduce_add_sync, unsigned, std::plus<>)
SIMT_REDUCTION(__reduce_add_sync, int, std::plus<>)
SIMT_REDUCTION(__reduce_min_sync, unsigned, simt::Min)
SIMT_REDUCTION(__reduce_min_sync, int, simt::Min)
SIMT_REDUCTION(__reduce_max_sync, unsigned, simt::Max)
SIMT_REDUCTION(__reduce_max_sync, int, simt::Max)
SIMT_REDUCTION(__reduce_and_sync, unsigned, std::bit_and<>)
SIMT_REDUCTION(__reduce_or_sync, unsigned, std::bit_or<>)
#undef SIMT_REDUCTION

// --- atomics, relaxed; all return what was there before ----------------------------------------

#define SIMT_ATOMIC(name, result)                                                     \
  template <class T>                                                                  \
  __attribute__((no_sanitize("thread"))) T name(T* word, std::type_identity_t<T> v) { \
    simt::BeginAtomic(word, sizeof(T));                                               \
    const T old = *word;                                                              \
    *word = (result);                                                                 \
    return old;                                                                       \
  }
SIMT_ATOMIC(atomicAdd, T(old + v))
SIMT_ATOMIC(atomicSub, T(old - v))
SIMT_ATOMIC(atomicMax, old < v ? v : old)
SIMT_ATOMIC(atomicMin, v < old ? v : old)
SIMT_ATOMIC(atomicOr, T(old | v))
SIMT_ATOMIC(atomicAnd, T(old& v))
SIMT_ATOMIC(atomicExch, v)
SIMT_ATOMIC(atomicInc, old >= v ? T(0) : T(old + 1))
#undef SIMT_ATOMIC
template <class T>
__attribute__((no_sanitize("thread"))) T atomicCAS(T* word, std::type_identity_t<T> expected,
                                                   std::type_identity_t<T> desired) {
  simt::BeginAtomic(word, sizeof(T));
  const T old = *word;
  if (old == expected) *word = desired;
  return old;
}

// --- memory: cache hints change nothing here ----------------------------------------------------

template <class T>
T __ldg(const T* from) {
  return *from;
}
template <class T>
T __ldcs(const T* from) {
  return *from;
}
template <class T>
T __ldcg(const T* from) {
  return *from;
}
template <class T>
void __stcs(T* to, std::type_identity_t<T> value) {
  *to = value;
}
template <class T>
void __stcg(T* to, std::type_identity_t<T> value) {
  *to = value;
}

// --- arithmetic ---------------------------------------------------------------------------------

inline unsigned __float_as_uint(float v) { return __builtin_bit_cast(unsigned, v); }
inline int __float_as_int(float v) { return __builtin_bit_cast(int, v); }
inline float __uint_as_float(unsigned v) { return __builtin_bit_cast(float, v); }
inline float __int_as_float(int v) { return __builtin_bit_cast(float, v); }
// The approximate ones are exact here but for one rounding.
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float __sinf(float x) { return std::sin(x); }
inline float __cosf(float x) { return std::cos(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1) : 0; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x != 0 ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) {
  return x != 0 ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t{a} * b >> 32); }

#define SIMT_MIN_MAX(T)                            \
  inline T min(T a, T b) { return b < a ? b : a; } \
  inline T max(T a, T b) { return a < b ? b : a; }
SIMT_MIN_MAX(int)
SIMT_MIN_MAX(unsigned)
SIMT_MIN_MAX(long)
SIMT_MIN_MAX(unsigned long)
SIMT_MIN_MAX(long long)
SIMT_MIN_MAX(unsigned long long)
#undef SIMT_MIN_MAX
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }

[[noreturn]] inline void __trap(SIMT_HERE) { simt::Fail("__trap()", where, "%s", ""); }

#endif  // KVASIR_TESTS_SIMT_INCLUDE_SIMT_DEVICE_H_
