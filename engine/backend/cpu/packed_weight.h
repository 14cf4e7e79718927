#ifndef KVASIR_ENGINE_BACKEND_CPU_PACKED_WEIGHT_H_
#define KVASIR_ENGINE_BACKEND_CPU_PACKED_WEIGHT_H_

#include <span>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/thread_pool.h"

namespace kvasir {

// A weight [N, K] as the kernels read it, from one row of x to hundreds: panels of 16 output
// columns, in each a 64-byte line for every k pair (bf16) or k (f32):
//   bf16 [ceil(N / 16)][ceil(K / 2)][16][2]      f32 [ceil(N / 16)][K][16]
// What pads N and K is zero.
inline int PanelCount(int n) { return (n + 15) / 16; }
inline int PanelLines(int k, DType dtype) { return dtype == DType::kBf16 ? (k + 1) / 2 : k; }

// The parts stacked along N, rounded to `dtype` (kBf16 or kF32), nearest even. Data is null where
// memory is exhausted.
PackedWeight PackWeight(std::span<const HostMatrix> parts, DType dtype, ThreadPool& pool);

// out[0, K) = row `row` of the weight.
void UnpackRow(const PackedWeight& weight, int row, float* out);

// out[i] = the vector's elements as f32.
void ConvertToFloat(const void* from, DType dtype, size_t count, float* out);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_BACKEND_CPU_PACKED_WEIGHT_H_
