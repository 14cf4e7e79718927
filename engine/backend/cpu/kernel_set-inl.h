// All kernels of one set, gathered into a table. Compiled per kernel set.
#ifndef KVASIR_ENGINE_BACKEND_CPU_KERNEL_SET_INL_H_
#define KVASIR_ENGINE_BACKEND_CPU_KERNEL_SET_INL_H_

#include "engine/backend/cpu/attention-inl.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/matmul-inl.h"
#include "engine/backend/cpu/rowwise-inl.h"

namespace kvasir::KVASIR_KERNEL_SET {

// Activation and Weight: float, or uint16_t for bf16 bits.
template <class Dot, class Activation, class Weight>
constexpr Kernels MakeKernels(const char* name, DType activation, DType weight) {
  constexpr int kPairs = sizeof(float) / sizeof(Weight);  // consecutive k in a 4-byte column
  Kernels kernels{};
  kernels.name = name;
  kernels.weight = weight;
  kernels.activation = activation;
  kernels.count_row_tiles = &CountRowTiles;
  kernels.tiled_bytes = &TiledBytes<Activation, kPairs>;
  kernels.tile_rows = &TileRows<Dot, Activation, kPairs>;
  kernels.matmul = &Matmul<Dot, kPairs>;
  kernels.add_rms_norm = &AddRmsNorm<Activation>;
  kernels.norm_rope_store = &NormRopeStore<Weight, kPairs>;
  kernels.silu_mul = &SiluMul<Activation>;
  kernels.convert = &Convert<Activation>;
  kernels.attention_span = &AttentionSpan<Dot, Activation, kPairs>;
  kernels.fold_span = &FoldSpan;
  kernels.normalize = &Normalize<Activation>;
  kernels.exp = &ExpAll;
  return kernels;
}

}  // namespace kvasir::KVASIR_KERNEL_SET

#endif  // KVASIR_ENGINE_BACKEND_CPU_KERNEL_SET_INL_H_
