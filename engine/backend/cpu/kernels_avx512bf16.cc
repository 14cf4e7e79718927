// The kernel set avx512bf16.
#define KVASIR_KERNEL_SET avx512bf16
#include "engine/backend/cpu/kernel_set-inl.h"

namespace kvasir {

const Kernels* Avx512Bf16Kernels(DType weight) {
  using namespace avx512bf16;  // NOLINT(google-build-using-namespace)
  static constexpr Kernels kBf16 =
      MakeKernels<PairDot, uint16_t, uint16_t>("avx512bf16", DType::kBf16, DType::kBf16);
  return weight == DType::kBf16 ? &kBf16 : nullptr;
}

}  // namespace kvasir
