#ifndef KVASIR_ENGINE_BACKEND_CPU_KV_LAYOUT_H_
#define KVASIR_ENGINE_BACKEND_CPU_KV_LAYOUT_H_

#include <cstddef>

#include "engine/batch.h"
#include "engine/tensor.h"

namespace kvasir {

// A layer's blocks follow each other; in a block, for each kv head, K and then V, each in the
// panels that the matrix kernels read (packed_weight.h):
//   K [D / 2][16 tokens][2] bf16, so that the lanes of q K^T are tokens;
//   V [ceil(D / 16)][8 token pairs][16][2] bf16, so that the lanes of P V are head dimensions;
// and in f32 K [D][16 tokens], V [ceil(D / 16)][16 tokens][16].
struct KvLayout {
  int kv_heads = 0;
  int head_dim = 0;  // even
  DType dtype = DType::kBf16;

  int value_panels() const { return (head_dim + 15) / 16; }
  size_t value_panel_bytes() const { return kBlockTokens * 16 * SizeOf(dtype); }
  size_t key_bytes() const { return size_t(head_dim) * kBlockTokens * SizeOf(dtype); }
  size_t value_bytes() const { return value_panels() * value_panel_bytes(); }
  size_t head_bytes() const { return key_bytes() + value_bytes(); }
  size_t block_bytes() const { return kv_heads * head_bytes(); }
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_BACKEND_CPU_KV_LAYOUT_H_
