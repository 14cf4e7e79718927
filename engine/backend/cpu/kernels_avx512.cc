// The kernel set avx512.
#define KVASIR_KERNEL_SET avx512
#include "engine/backend/cpu/kernel_set-inl.h"

namespace kvasir {

const Kernels* Avx512Kernels(DType weight) {
  using namespace avx512;  // NOLINT(google-build-using-namespace)
  static constexpr Kernels kBf16 =
      MakeKernels<WidenedDot, float, uint16_t>("avx512", DType::kF32, DType::kBf16);
  static constexpr Kernels kF32 =
      MakeKernels<FloatDot, float, float>("avx512", DType::kF32, DType::kF32);
  return weight == DType::kBf16 ? &kBf16 : weight == DType::kF32 ? &kF32 : nullptr;
}

}  // namespace kvasir
