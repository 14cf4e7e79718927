// A small vocabulary of 16-lane f32 vectors, so that every kernel is written once. A kernel set
// compiles it for its own instructions and into its own namespace (KVASIR_KERNEL_SET): code
// compiled for AVX-512 must never be linked into what an AVX2 machine runs, so these headers use
// nothing of the standard library that could be emitted as a shared inline function.
//
// Every operation rounds like its scalar IEEE-754 counterpart, lane by lane: avx512 and avx2 give
// the same bits. In Max and Min the second operand wins where either is NaN.
#ifndef KVASIR_ENGINE_BACKEND_CPU_SIMD_H_
#define KVASIR_ENGINE_BACKEND_CPU_SIMD_H_

// GCC's AVX-512 intrinsics set off its own warning wherever they are inlined (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#ifndef KVASIR_KERNEL_SET
#error "the kernel set's .cc names KVASIR_KERNEL_SET before it includes the kernels"
#endif

#define KVASIR_INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)
#include "engine/backend/cpu/simd_avx512.h"
#else
#include "engine/backend/cpu/simd_avx2.h"
#endif

namespace kvasir::KVASIR_KERNEL_SET {

KVASIR_INLINE constexpr int Smaller(int a, int b) { return a < b ? a : b; }

// The first `count` lanes from memory, the others zero; count may exceed 16.
KVASIR_INLINE F32x16 LoadUpTo(const float* p, int count) {
  return count >= 16 ? Load(p) : LoadFirst(p, count);
}
KVASIR_INLINE void StoreUpTo(float* p, F32x16 x, int count) {
  count >= 16 ? Store(p, x) : StoreFirst(p, x, count);
}
KVASIR_INLINE void StoreUpTo(uint16_t* p, F32x16 x, int count) {
  count >= 16 ? StoreBf16(p, ToBf16(x)) : StoreBf16First(p, ToBf16(x), count);
}

// Over the lanes, always by the same tree: i + (i + 8), then + 4, + 2, + 1.
KVASIR_INLINE float SumLanes(F32x16 x) {
  const __m256 eight = _mm256_add_ps(LowHalf(x), HighHalf(x));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
KVASIR_INLINE float MaxLanes(F32x16 x) {
  const __m256 eight = _mm256_max_ps(LowHalf(x), HighHalf(x));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// e^x: x = n ln 2 + r, |r| <= ln(2)/2, e^r = 1 + r + r^2 q(r) with q the least-maximum polynomial
// of degree 4 (relative error of e^r 3.1e-9). Exactly 1 at 0 and 0 at -inf; NaN stays NaN.
KVASIR_INLINE F32x16 Exp(F32x16 x) {
  x = Max(Set1(-105.0f), Min(Set1(89.0f), x));
  const F32x16 n = RoundToInt(Mul(x, Set1(0x1.715476p+0f)));
  F32x16 r = NegFma(n, Set1(0x1.62e4p-1f), x);  // ln 2 in two parts, the first short
  r = NegFma(n, Set1(0x1.7f7d1cp-20f), r);
  F32x16 q = Set1(0x1.6a2434p-10f);
  q = Fma(q, r, Set1(0x1.1239e2p-7f));
  q = Fma(q, r, Set1(0x1.5558f2p-5f));
  q = Fma(q, r, Set1(0x1.555492p-3f));
  q = Fma(q, r, Set1(0x1.fffffcp-2f));
  return ScaleByPowerOf2(Add(Set1(1.0f), Fma(Mul(r, r), q, r)), n);
}

KVASIR_INLINE F32x16 Silu(F32x16 x) { return Div(x, Add(Set1(1.0f), Exp(Sub(Zero(), x)))); }

}  // namespace kvasir::KVASIR_KERNEL_SET

#endif  // KVASIR_ENGINE_BACKEND_CPU_SIMD_H_
