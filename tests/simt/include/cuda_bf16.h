// Stands in for the toolkit's header: bf16 rounded to nearest even, arithmetic rounded once.
#ifndef KVASIR_TESTS_SIMT_INCLUDE_CUDA_BF16_H_
#define KVASIR_TESTS_SIMT_INCLUDE_CUDA_BF16_H_

#include "tests/simt/include/simt_device.h"

struct __nv_bfloat16_raw {
  unsigned short x;
};
// NOLINTBEGIN(google-explicit-constructor): as CUDA has it.
struct alignas(2) __nv_bfloat16 {
  unsigned short __x;

  __nv_bfloat16() = default;
  __nv_bfloat16(__nv_bfloat16_raw raw) : __x(raw.x) {}
  __nv_bfloat16(float value) {
    const unsigned bits = __float_as_uint(value);
    if ((bits & 0x7fffffff) > 0x7f800000) {
      __x = 0x7fff;  // every NaN
    } else {
      __x = static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
  }
  operator float() const { return __uint_as_float(unsigned{__x} << 16); }
  operator __nv_bfloat16_raw() const { return {__x}; }
};
// NOLINTEND(google-explicit-constructor)
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

inline __nv_bfloat16 __float2bfloat16(float v) { return v; }
inline __nv_bfloat16 __float2bfloat16_rn(float v) { return v; }
inline float __bfloat162float(__nv_bfloat16 v) { return v; }
inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) { return {a, b}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 v) { return {v.x, v.y}; }
inline float2 __bfloat1622float2(__nv_bfloat162 v) { return {v.x, v.y}; }
inline float __low2float(__nv_bfloat162 v) { return v.x; }
inline float __high2float(__nv_bfloat162 v) { return v.y; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 v) { return v.__x; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  return __nv_bfloat16(__nv_bfloat16_raw{bits});
}
inline __nv_bfloat16 __hadd(__nv_bfloat16 a, __nv_bfloat16 b) { return float{a} + float{b}; }
inline __nv_bfloat16 __hsub(__nv_bfloat16 a, __nv_bfloat16 b) { return float{a} - float{b}; }
inline __nv_bfloat16 __hmul(__nv_bfloat16 a, __nv_bfloat16 b) { return float{a} * float{b}; }

#endif  // KVASIR_TESTS_SIMT_INCLUDE_CUDA_BF16_H_
