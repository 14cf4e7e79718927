// The kernel set avx2.
#define KVASIR_KERNEL_SET avx2
#include "engine/backend/cpu/kernel_set-inl.h"

namespace kvasir {

const Kernels* Avx2Kernels(DType weight) {
  using namespace avx2;  // NOLINT(google-build-using-namespace)
  static constexpr Kernels kBf16 =
      MakeKernels<WidenedDot, float, uint16_t>("avx2", DType::kF32, DType::kBf16);
  static constexpr Kernels kF32 =
      MakeKernels<FloatDot, float, float>("avx2", DType::kF32, DType::kF32);
  return weight == DType::kBf16 ? &kBf16 : weight == DType::kF32 ? &kF32 : nullptr;
}

}  // namespace kvasir
