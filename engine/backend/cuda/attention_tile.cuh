// The arithmetic of attention, one for prefill and decode: 16 query rows against 64 keys at a time.
// What a row gets is a function of its own query, keys and values alone: rows of a tensor core
// product do not meet, keys come in tiles that begin at multiples of kKeyTile, and every sum has
// one order, however many warps share the 16 rows.
#ifndef KVASIR_ENGINE_BACKEND_CUDA_ATTENTION_TILE_CUH_
#define KVASIR_ENGINE_BACKEND_CUDA_ATTENTION_TILE_CUH_

#include "engine/backend/cuda/gpu.cuh"
#include "engine/backend/cuda/kernels.h"

namespace kvasir::cuda {

inline constexpr int kStep = 16;  // of a product's inner dimension
inline constexpr int kKeySteps = kKeyTile / kStep;

// log2(e) / sqrt(D): scores are exponents of two.
template <int D>
inline constexpr float kScoreScale = static_cast<float>(1.4426950408889634 *
                                                        (D == 16   ? 0.25
                                                         : D == 32 ? 0.17677669529663687
                                                         : D == 64 ? 0.125
                                                                   : 0.08838834764831845));

// A tile in shared memory is [rows][D], its 16-byte chunks permuted within a row such that the same
// chunk of 8 successive rows lies in 8 different groups of banks: chunk c of row r is at c ^
// Twist(r). Twist repeats every 8 rows.
template <int D>
__device__ __forceinline__ int Twist(int row) {
  constexpr int kGroups = D / 8 < 8 ? D / 8 : 8;
  return row / (8 / kGroups) % kGroups;
}
template <int D>
__device__ __forceinline__ int TileOffset(int row, int chunk) {
  return row * D + (chunk ^ Twist<D>(row)) * 8;
}

// The same value, of which the compiler knows nothing: what follows from it is computed where it is
// used and takes no register meanwhile.
__device__ __forceinline__ int Opaque(int value) {
  asm volatile("" : "+r"(value));
  return value;
}

// Softmax over the keys so far (Milakov & Gimelshein 2018), of 16 rows and a warp's 8 kColumnTiles
// columns; lane 4 g + t has rows g and g + 8. The last tile of `out` is the sum of the weights, as
// if V had columns of ones.
template <int kColumnTiles>
struct SoftmaxState {
  float max[2] = {-INFINITY, -INFINITY};  // of the scores q k, not scaled
  float out[kColumnTiles + 1][4] = {};    // accumulators of MultiplyAccumulate
};

// s = q k^T for 8 kScoreTiles keys.  q: [16][D]; k: [8 kScoreTiles][D], both in shared memory
template <int D, int kScoreTiles>
__device__ __forceinline__ void ComputeScores(float (&s)[kScoreTiles][4], const bf16* q,
                                              const bf16* k) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int row = lane % 16;
  const int row_twist = Opaque(Twist<D>(row) ^ lane / 16);
  const int key = lane / 16 * 8 + lane % 8;
  const int key_twist = Opaque(Twist<D>(key) ^ lane / 8 % 2);
#pragma unroll
  for (int i = 0; i < kScoreTiles; ++i) {
#pragma unroll
    for (int e = 0; e < 4; ++e) s[i][e] = 0;
  }
#pragma unroll
  for (int step = 0; step < D / kStep; ++step) {
    uint32_t a[4];
    LoadMatrices(a, q + row * D + (2 * step ^ row_twist) * 8);
#pragma unroll
    for (int i = 0; i < kScoreTiles; i += 2) {
      uint32_t b[4];  // 16 keys by 16 columns of k
      LoadMatrices(b, k + key * D + (2 * step ^ key_twist) * 8 + 8 * i * D);
      const uint32_t left[2] = {b[0], b[1]};
      const uint32_t right[2] = {b[2], b[3]};
      MultiplyAccumulate(s[i], a, left);
      MultiplyAccumulate(s[i + 1], a, right);
    }
  }
}

// Takes from the lane's two rows the keys after their positions.
template <int kScoreTiles>
__device__ __forceinline__ void MaskScores(float (&s)[kScoreTiles][4], int first_key,
                                           const int (&position)[2]) {
  if (first_key + 8 * kScoreTiles - 1 <= min(position[0], position[1])) return;
  const int key = first_key + static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int i = 0; i < kScoreTiles; ++i) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
#if defined(BUG_ATTENTION_MASK)
      if (key + 8 * i + e % 2 > position[e / 2] + 1) s[i][e] = -INFINITY;  // planted: one too many
#else
      if (key + 8 * i + e % 2 > position[e / 2]) s[i][e] = -INFINITY;
#endif
    }
  }
}

// The largest score of each of the lane's two rows, for all four lanes that have them.
template <int kScoreTiles>
__device__ __forceinline__ void FindLargest(float (&largest)[2], const float (&s)[kScoreTiles][4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float max = -INFINITY;
#pragma unroll
    for (int i = 0; i < kScoreTiles; ++i) {
      max = fmaxf(max, fmaxf(s[i][2 * half], s[i][2 * half + 1]));
    }
    max = fmaxf(max, __shfl_xor_sync(kFullMask, max, 1));
    largest[half] = fmaxf(max, __shfl_xor_sync(kFullMask, max, 2));
  }
}

// The scores become weights, exp(s - max), relative to the largest score so far; what the state
// held is brought to that. largest: of the tile's scores
template <int kColumnTiles, int kScoreTiles>
__device__ __forceinline__ void Softmax(float (&s)[kScoreTiles][4],
                                        SoftmaxState<kColumnTiles>& state,
                                        const float (&largest)[2], float scale) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float max = fmaxf(state.max[half], largest[half]);
    // A row that has met no key of the span yet: everything below is exp(-inf) = 0.
    const float base = max == -INFINITY ? 0.0f : max;
    const float decay = exp2f((state.max[half] - base) * scale);
    state.max[half] = max;
#pragma unroll
    for (int e = 2 * half; e < 2 * half + 2; ++e) {
#pragma unroll
      for (int i = 0; i <= kColumnTiles; ++i) state.out[i][e] *= decay;
#pragma unroll
      for (int i = 0; i < kScoreTiles; ++i) s[i][e] = exp2f((s[i][e] - base) * scale);
    }
  }
}

// The weights of 8 kScoreTiles keys, rounded, to their place among those of the tile.
// p: [16][kKeyTile] in shared memory
template <int kScoreTiles>
__device__ __forceinline__ void StoreWeights(bf16* p, const float (&s)[kScoreTiles][4],
                                             int first_chunk) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int i = 0; i < kScoreTiles; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      bf16* const to = p + TileOffset<kKeyTile>(lane / 4 + 8 * half, first_chunk + i);
      *reinterpret_cast<uint32_t*>(to + lane % 4 * 2) =
          PackPair(s[i][2 * half], s[i][2 * half + 1]);
    }
  }
}

// out += p [v, 1].  p: [16][kKeyTile]; v: [kKeyTile][D], of which the columns from 8 first_chunk on
// are the warp's; both in shared memory
template <int D, int kColumnTiles>
__device__ __forceinline__ void AddValues(SoftmaxState<kColumnTiles>& state, const bf16* p,
                                          const bf16* v, int first_chunk) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int twist = Opaque(Twist<D>(lane));
  const uint32_t ones[2] = {0x3f803f80u, 0x3f803f80u};
#pragma unroll
  for (int step = 0; step < kKeySteps; step += 2) {
    uint32_t a[2][4];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#if defined(BUG_ATTENTION_FRAGMENT)  // planted: the operand's quarters in the order of memory
      LoadMatrices(
          a[n], p + TileOffset<kKeyTile>(lane / 16 * 8 + lane % 8, 2 * (step + n) + lane / 8 % 2));
#else
      LoadMatrices(a[n], p + TileOffset<kKeyTile>(lane % 16, 2 * (step + n) + lane / 16));
#endif
    }
#pragma unroll
    for (int i = 0; i < kColumnTiles; ++i) {
      uint32_t b[4];  // 32 keys by 8 columns of v
      LoadMatricesTransposed(b, v + lane * D + ((first_chunk + i) ^ twist) * 8 + kStep * step * D);
      const uint32_t upper[2] = {b[0], b[1]};
      const uint32_t lower[2] = {b[2], b[3]};
      MultiplyAccumulate(state.out[i], a[0], upper);
      MultiplyAccumulate(state.out[i], a[1], lower);
    }
    MultiplyAccumulate(state.out[kColumnTiles], a[0], ones);
    MultiplyAccumulate(state.out[kColumnTiles], a[1], ones);
  }
}

// One span's state joins those before it. Written without freedom for the compiler: the sums below
// are the same whether states come from registers or from memory.
struct FoldFactors {
  float max;
  float total;
  float part;
};
// REQUIRES: one of both is not -inf: total once it holds the first span, for every row sees key 0.
__device__ __forceinline__ FoldFactors FactorsOf(float total_max, float part_max, float scale) {
  const float max = fmaxf(total_max, part_max);
  return {max, exp2f((total_max - max) * scale), exp2f((part_max - max) * scale)};
}
__device__ __forceinline__ float Fold(float total, float part, const FoldFactors& factors) {
  return __fmaf_rn(part, factors.part, __fmul_rn(total, factors.total));
}
template <int kColumnTiles>
__device__ __forceinline__ void FoldState(SoftmaxState<kColumnTiles>& total,
                                          const SoftmaxState<kColumnTiles>& part, float scale) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const FoldFactors factors = FactorsOf(total.max[half], part.max[half], scale);
    total.max[half] = factors.max;
#pragma unroll
    for (int i = 0; i <= kColumnTiles; ++i) {
#pragma unroll
      for (int e = 2 * half; e < 2 * half + 2; ++e) {
        total.out[i][e] = Fold(total.out[i][e], part.out[i][e], factors);
      }
    }
  }
}
// A state's end. Adding zero makes one zero of both: whether keys of weight zero were added to a -0
// depends on the row's neighbours.
__device__ __forceinline__ float Normalize(float out, float inverse_sum) {
  return __fadd_rn(__fmul_rn(out, inverse_sum), 0.0f);
}

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_ATTENTION_TILE_CUH_
