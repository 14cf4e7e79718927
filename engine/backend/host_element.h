#ifndef KVASIR_ENGINE_BACKEND_HOST_ELEMENT_H_
#define KVASIR_ENGINE_BACKEND_HOST_ELEMENT_H_

#include <bit>
#include <cstring>

#include "engine/tensor.h"

namespace kvasir {

// IEEE-754 binary16, exactly.
inline float HalfToFloat(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00) {  // inf, NaN
    return std::bit_cast<float>(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  }
  if (magnitude < 0x400) {  // zero, subnormal: a multiple of 2^-24
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  return std::bit_cast<float>(sign | ((magnitude << 13) + ((127 - 15) << 23)));
}

// Element `i` of a row of a checkpoint, of any alignment.
inline float ElementToFloat(const void* row, DType dtype, size_t i) {
  const char* from = static_cast<const char*>(row) + i * SizeOf(dtype);
  if (dtype == DType::kF32) {
    float value;
    std::memcpy(&value, from, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, from, sizeof(bits));
  return dtype == DType::kF16 ? HalfToFloat(bits) : ToFloat({bits});
}

// The same, rounded to bf16, nearest even.
inline uint16_t ElementToBf16(const void* row, DType dtype, size_t i) {
  if (dtype != DType::kBf16) return ToBFloat16(ElementToFloat(row, dtype, i)).bits;
  uint16_t bits;
  std::memcpy(&bits, static_cast<const char*>(row) + i * 2, sizeof(bits));
  return bits;
}

}  // namespace kvasir

#endif  // KVASIR_ENGINE_BACKEND_HOST_ELEMENT_H_
