// The verbs that treat each row by itself: norms, rotary embedding, gate. Compiled per kernel set.
// Output is the activation dtype: Out is float or uint16_t (bf16 bits).
#ifndef KVASIR_ENGINE_BACKEND_CPU_ROWWISE_INL_H_
#define KVASIR_ENGINE_BACKEND_CPU_ROWWISE_INL_H_

#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/simd.h"

namespace kvasir::KVASIR_KERNEL_SET {

// Sum of squares in a fixed order: four running vectors by turns, then (0 + 1) + (2 + 3), then the
// tree of SumLanes.
KVASIR_INLINE float SumOfSquares(const float* x, int n) {
  F32x16 sum[4] = {Zero(), Zero(), Zero(), Zero()};
  for (int i = 0, j = 0; i < n; i += 16, j = (j + 1) & 3) {
    const F32x16 v = LoadUpTo(x + i, n - i);
    sum[j] = Fma(v, v, sum[j]);
  }
  return SumLanes(Add(Add(sum[0], sum[1]), Add(sum[2], sum[3])));
}

KVASIR_INLINE float InverseRms(const float* x, int n, float eps) {
  const __m128 mean = _mm_set_ss(SumOfSquares(x, n) / float(n) + eps);
  return 1.0f / _mm_cvtss_f32(_mm_sqrt_ss(mean));
}

template <class Out>
void AddRmsNorm(const NormArgs& args, int row_begin, int row_end) {
  const int n = args.n;
  for (int row = row_begin; row < row_end; ++row) {
    float* residual = args.residual + size_t(row) * n;
    if (args.x != nullptr) {
      const float* x = args.x + size_t(row) * n;
      for (int i = 0; i < n; i += 16) {
        const F32x16 sum = Add(LoadUpTo(residual + i, n - i), LoadUpTo(x + i, n - i));
        StoreUpTo(residual + i, sum, n - i);
      }
    }
    const F32x16 scale = Set1(InverseRms(residual, n, args.eps));
    Out* out = static_cast<Out*>(args.out) + size_t(row) * n;
    for (int i = 0; i < n; i += 16) {
      const F32x16 normed = Mul(LoadUpTo(residual + i, n - i), scale);
      StoreUpTo(out + i, Mul(normed, LoadUpTo(args.w + i, n - i)), n - i);
    }
  }
}

// RMSNorm with weights, then the rotation of the pairs (i, i + D/2).
KVASIR_INLINE void NormRotate(float* head, const float* w, int d, float eps, const float* cos,
                              const float* sin) {
  const F32x16 scale = Set1(InverseRms(head, d, eps));
  const int half = d / 2;
  for (int i = 0; i < half; i += 16) {
    const int n = half - i;
    const F32x16 a = Mul(Mul(LoadUpTo(head + i, n), scale), LoadUpTo(w + i, n));
    const F32x16 b = Mul(Mul(LoadUpTo(head + half + i, n), scale), LoadUpTo(w + half + i, n));
    const F32x16 c = LoadUpTo(cos + i, n);
    const F32x16 s = LoadUpTo(sin + i, n);
    StoreUpTo(head + i, NegFma(b, s, Mul(a, c)), n);
    StoreUpTo(head + half + i, Fma(a, s, Mul(b, c)), n);
  }
}

template <class Out>
KVASIR_INLINE void Round(const float* x, int n, Out* out) {
  for (int i = 0; i < n; i += 16) StoreUpTo(out + i, LoadUpTo(x + i, n - i), n - i);
}

// One token's K and V into their lanes of the block's panels. kPairs consecutive k share a line.
template <class Weight, int kPairs>
KVASIR_INLINE void StoreKeyValue(const float* key, const float* value, int d, int token, char* head,
                                 size_t key_bytes) {
  Weight lanes[kMaxHeadDim];
  Round(key, d, lanes);
  Weight* k = reinterpret_cast<Weight*>(head) + token * kPairs;
  for (int i = 0; i < d; i += kPairs) {
    for (int j = 0; j < kPairs; ++j) k[i * 16 + j] = lanes[i + j];
  }
  Round(value, d, lanes);
  Weight* v =
      reinterpret_cast<Weight*>(head + key_bytes) + token / kPairs * 16 * kPairs + token % kPairs;
  for (int i = 0; i < d; ++i) v[i / 16 * 256 + i % 16 * kPairs] = lanes[i];
}

template <class Weight, int kPairs>
void NormRopeStore(const RopeArgs& args, int row_begin, int row_end) {
  const int d = args.head_dim;
  const size_t stride = size_t(args.heads + 2 * args.kv_heads) * d;
  for (int row = row_begin; row < row_end; ++row) {
    float* q = args.qkv + row * stride;
    float* k = q + size_t(args.heads) * d;
    float* v = k + size_t(args.kv_heads) * d;
    const float* cos = args.cos + size_t(row) * (d / 2);
    const float* sin = args.sin + size_t(row) * (d / 2);
    for (int h = 0; h < args.heads; ++h) {
      NormRotate(q + size_t(h) * d, args.q_norm, d, args.eps, cos, sin);
    }
    const int slot = args.slots[row];
    char* block = args.kv + size_t(slot / 16) * args.block_bytes;
    for (int h = 0; h < args.kv_heads; ++h) {
      NormRotate(k + size_t(h) * d, args.k_norm, d, args.eps, cos, sin);
      StoreKeyValue<Weight, kPairs>(k + size_t(h) * d, v + size_t(h) * d, d, slot % 16,
                                    block + h * args.head_bytes, args.key_bytes);
    }
  }
}

template <class Out>
void SiluMul(void* out, const float* gate_up, int n, int row_begin, int row_end) {
  for (int row = row_begin; row < row_end; ++row) {
    const float* gate = gate_up + size_t(row) * 2 * n;
    const float* up = gate + n;
    Out* to = static_cast<Out*>(out) + size_t(row) * n;
    for (int i = 0; i < n; i += 16) {
      const F32x16 activated = Silu(LoadUpTo(gate + i, n - i));
      StoreUpTo(to + i, Mul(activated, LoadUpTo(up + i, n - i)), n - i);
    }
  }
}

template <class Out>
void Convert(void* out, const float* x, int n) {
  Round(x, n, static_cast<Out*>(out));
}

inline void ExpAll(float* out, const float* x, int n) {
  for (int i = 0; i < n; i += 16) StoreUpTo(out + i, Exp(LoadUpTo(x + i, n - i)), n - i);
}

}  // namespace kvasir::KVASIR_KERNEL_SET

#endif  // KVASIR_ENGINE_BACKEND_CPU_ROWWISE_INL_H_
