// The vocabulary of simd.h in AVX2 and FMA: two registers a vector. Included by simd.h alone.
#ifndef KVASIR_ENGINE_BACKEND_CPU_SIMD_AVX2_H_
#define KVASIR_ENGINE_BACKEND_CPU_SIMD_AVX2_H_

namespace kvasir::KVASIR_KERNEL_SET {

struct F32x16 {
  __m256 lo, hi;
};
struct Bf16x16 {
  __m256i v;
};

// All ones in the lanes first + i < count.
KVASIR_INLINE __m256i LanesBelow(int first, int count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count - first), lane);
}

KVASIR_INLINE F32x16 Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
KVASIR_INLINE F32x16 Set1(float x) {
  const __m256 v = _mm256_set1_ps(x);
  return {v, v};
}
KVASIR_INLINE F32x16 Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
KVASIR_INLINE void Store(float* p, F32x16 x) {
  _mm256_storeu_ps(p, x.lo);
  _mm256_storeu_ps(p + 8, x.hi);
}
KVASIR_INLINE F32x16 LoadFirst(const float* p, int count) {
  return {_mm256_maskload_ps(p, LanesBelow(0, count)),
          _mm256_maskload_ps(p + 8, LanesBelow(8, count))};
}
KVASIR_INLINE void StoreFirst(float* p, F32x16 x, int count) {
  _mm256_maskstore_ps(p, LanesBelow(0, count), x.lo);
  _mm256_maskstore_ps(p + 8, LanesBelow(8, count), x.hi);
}

KVASIR_INLINE F32x16 Add(F32x16 a, F32x16 b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
KVASIR_INLINE F32x16 Sub(F32x16 a, F32x16 b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
KVASIR_INLINE F32x16 Mul(F32x16 a, F32x16 b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
KVASIR_INLINE F32x16 Div(F32x16 a, F32x16 b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
KVASIR_INLINE F32x16 Max(F32x16 a, F32x16 b) {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
KVASIR_INLINE F32x16 Min(F32x16 a, F32x16 b) {
  return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
KVASIR_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
KVASIR_INLINE F32x16 NegFma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}
KVASIR_INLINE F32x16 RoundToInt(F32x16 x) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.lo, kNearest), _mm256_round_ps(x.hi, kNearest)};
}
KVASIR_INLINE F32x16 FirstOr(F32x16 x, int count, F32x16 other) {
  return {_mm256_blendv_ps(other.lo, x.lo, _mm256_castsi256_ps(LanesBelow(0, count))),
          _mm256_blendv_ps(other.hi, x.hi, _mm256_castsi256_ps(LanesBelow(8, count)))};
}

KVASIR_INLINE __m256 ScaleByPowerOf2(__m256 x, __m256 n) {
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256i whole = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(whole, 1);
  const __m256i rest = _mm256_sub_epi32(whole, half);
  const __m256 a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  const __m256 b = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
  return _mm256_mul_ps(_mm256_mul_ps(x, a), b);
}
KVASIR_INLINE F32x16 ScaleByPowerOf2(F32x16 x, F32x16 n) {
  return {ScaleByPowerOf2(x.lo, n.lo), ScaleByPowerOf2(x.hi, n.hi)};
}

KVASIR_INLINE __m256 LowHalf(F32x16 x) { return x.lo; }
KVASIR_INLINE __m256 HighHalf(F32x16 x) { return x.hi; }

KVASIR_INLINE F32x16 WidenLow(const char* line) {
  const __m256i* p = reinterpret_cast<const __m256i*>(line);
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(p), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(p + 1), 16))};
}
KVASIR_INLINE F32x16 WidenHigh(const char* line) {
  const __m256i* p = reinterpret_cast<const __m256i*>(line);
  const __m256i mask = _mm256_set1_epi32(int(0xffff0000));
  return {_mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(p), mask)),
          _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(p + 1), mask))};
}

KVASIR_INLINE __m256i RoundedUpperHalf(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  const __m256i chosen = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(nan));
  return _mm256_srli_epi32(chosen, 16);
}
KVASIR_INLINE Bf16x16 ToBf16(F32x16 x) {
  const __m256i packed = _mm256_packus_epi32(RoundedUpperHalf(x.lo), RoundedUpperHalf(x.hi));
  return {_mm256_permute4x64_epi64(packed, 0b11011000)};
}
KVASIR_INLINE F32x16 ToF32(Bf16x16 x) {
  const __m256i lo = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(x.v));
  const __m256i hi = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(x.v, 1));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(lo, 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(hi, 16))};
}
KVASIR_INLINE void StoreBf16(uint16_t* p, Bf16x16 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.v);
}
KVASIR_INLINE void StoreBf16First(uint16_t* p, Bf16x16 x, int count) {
  alignas(32) uint16_t lanes[16];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), x.v);
  for (int i = 0; i < count; ++i) p[i] = lanes[i];
}

}  // namespace kvasir::KVASIR_KERNEL_SET

#endif  // KVASIR_ENGINE_BACKEND_CPU_SIMD_AVX2_H_
