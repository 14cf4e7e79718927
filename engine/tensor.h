#ifndef KVASIR_ENGINE_TENSOR_H_
#define KVASIR_ENGINE_TENSOR_H_

#include <bit>
#include <cstddef>
#include <cstdint>

namespace kvasir {

enum class DType { kF32, kBf16, kF16 };

constexpr size_t SizeOf(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }
constexpr const char* NameOf(DType dtype) {
  return dtype == DType::kF32 ? "f32" : dtype == DType::kBf16 ? "bf16" : "f16";
}

// The upper half of an IEEE-754 binary32.
struct BFloat16 {
  uint16_t bits;
};

inline float ToFloat(BFloat16 value) { return std::bit_cast<float>(uint32_t{value.bits} << 16); }

// Round to nearest, ties to even; NaN stays NaN.
inline BFloat16 ToBFloat16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return {static_cast<uint16_t>((bits >> 16) | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

// A view on a backend's memory: row-major and dense, rows * cols elements. Owns nothing.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int rows = 0;
  int cols = 0;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  size_t bytes() const { return size_t(rows) * size_t(cols) * SizeOf(dtype); }
  // The first `count` rows.
  Tensor Rows(int count) const { return {data, dtype, count, cols}; }
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_TENSOR_H_
