// The vocabulary of simd.h in AVX-512 F, BW, VL, DQ. Included by simd.h alone.
#ifndef KVASIR_ENGINE_BACKEND_CPU_SIMD_AVX512_H_
#define KVASIR_ENGINE_BACKEND_CPU_SIMD_AVX512_H_

namespace kvasir::KVASIR_KERNEL_SET {

struct F32x16 {
  __m512 v;
};
struct Bf16x16 {
  __m256i v;
};

KVASIR_INLINE __mmask16 FirstLanes(int count) { return static_cast<__mmask16>((1u << count) - 1); }

KVASIR_INLINE F32x16 Zero() { return {_mm512_setzero_ps()}; }
KVASIR_INLINE F32x16 Set1(float x) { return {_mm512_set1_ps(x)}; }
KVASIR_INLINE F32x16 Load(const float* p) { return {_mm512_loadu_ps(p)}; }
KVASIR_INLINE void Store(float* p, F32x16 x) { _mm512_storeu_ps(p, x.v); }
KVASIR_INLINE F32x16 LoadFirst(const float* p, int count) {
  return {_mm512_maskz_loadu_ps(FirstLanes(count), p)};
}
KVASIR_INLINE void StoreFirst(float* p, F32x16 x, int count) {
  _mm512_mask_storeu_ps(p, FirstLanes(count), x.v);
}

KVASIR_INLINE F32x16 Add(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
KVASIR_INLINE F32x16 Sub(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
KVASIR_INLINE F32x16 Mul(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
KVASIR_INLINE F32x16 Div(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
KVASIR_INLINE F32x16 Max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
KVASIR_INLINE F32x16 Min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
KVASIR_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
KVASIR_INLINE F32x16 NegFma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm512_fnmadd_ps(a.v, b.v, c.v)};
}
KVASIR_INLINE F32x16 RoundToInt(F32x16 x) {
  return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
KVASIR_INLINE F32x16 FirstOr(F32x16 x, int count, F32x16 other) {
  return {_mm512_mask_blend_ps(FirstLanes(count), other.v, x.v)};
}

KVASIR_INLINE F32x16 ScaleByPowerOf2(F32x16 x, F32x16 n) {
  const __m512i bias = _mm512_set1_epi32(127);
  const __m512i whole = _mm512_cvtps_epi32(n.v);
  const __m512i half = _mm512_srai_epi32(whole, 1);
  const __m512i rest = _mm512_sub_epi32(whole, half);
  const __m512 a = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(half, bias), 23));
  const __m512 b = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(rest, bias), 23));
  return {_mm512_mul_ps(_mm512_mul_ps(x.v, a), b)};
}

KVASIR_INLINE __m256 LowHalf(F32x16 x) { return _mm512_castps512_ps256(x.v); }
KVASIR_INLINE __m256 HighHalf(F32x16 x) {
  return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x.v), 1));
}

KVASIR_INLINE F32x16 WidenLow(const char* line) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(line), 16))};
}
KVASIR_INLINE F32x16 WidenHigh(const char* line) {
  return {_mm512_castsi512_ps(
      _mm512_and_si512(_mm512_loadu_si512(line), _mm512_set1_epi32(int(0xffff0000))))};
}

KVASIR_INLINE Bf16x16 ToBf16(F32x16 x) {
#if defined(__AVX512BF16__)
  return {(__m256i)_mm512_cvtneps_pbh(x.v)};
#else
  const __m512i bits = _mm512_castps_si512(x.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q);
  const __m512i chosen = _mm512_mask_blend_epi32(nan, rounded, quiet);
  return {_mm512_cvtepi32_epi16(_mm512_srli_epi32(chosen, 16))};
#endif
}
KVASIR_INLINE F32x16 ToF32(Bf16x16 x) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x.v), 16))};
}
KVASIR_INLINE void StoreBf16(uint16_t* p, Bf16x16 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.v);
}
KVASIR_INLINE void StoreBf16First(uint16_t* p, Bf16x16 x, int count) {
  _mm256_mask_storeu_epi16(p, FirstLanes(count), x.v);
}

}  // namespace kvasir::KVASIR_KERNEL_SET

#endif  // KVASIR_ENGINE_BACKEND_CPU_SIMD_AVX512_H_
