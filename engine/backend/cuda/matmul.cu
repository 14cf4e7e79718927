// The matrix product: tiles of out^T [16 of N, 8 of M] by mma.m16n8k16, with w as its first operand
// and x as its second.
//
// A sum over k may be taken in any order that both operands share. So lane l of a warp takes, of a
// 32-wide block of K, the 8 elements 8 (l % 4) .. + 7 of row l / 4: one 16-byte load, straight from
// row-major memory. Its elements 0..3 enter a first product of 16, 4..7 a second one.
//
// Two kernels serve different M, with the same products in the same order for every output:
// StreamKernel, for few rows, reads each weight once and spreads the chains over the warps of a
// block; TileKernel, for many, shares what it loads among large tiles of the output.
#include "engine/backend/cuda/gpu.cuh"
#include "engine/backend/cuda/kernels.h"
#include "engine/backend/cuda/silu.cuh"

namespace kvasir::cuda {
namespace {

constexpr int kBlockK = 32;                      // elements of K between two turns
constexpr int kTileN = 16;                       // of one tensor-core product
constexpr int kTileM = 8;                        // likewise
constexpr int kThreads = kMatmulSplits * kWarp;  // of a block, in both kernels
constexpr int kLaneK = 8;                        // consecutive elements that a lane loads
constexpr int kLanesInRow = kBlockK / kLaneK;    // lanes that load one row of a block of K

// Eight rows of w and eight more, and eight rows of x, for one block of K.
// sum [16 of N, 8 of M] += w x^T over half (0 or 1) of the block.
__device__ __forceinline__ void MultiplyHalf(float (&sum)[4], const uint4 (&w)[2], const uint4& x,
                                             int half) {
#if defined(BUG_MATMUL_FRAGMENT)  // planted: rows and k of the first operand in the other order
  const uint32_t a[4] = {half ? w[0].z : w[0].x, half ? w[0].w : w[0].y, half ? w[1].z : w[1].x,
                         half ? w[1].w : w[1].y};
#else
  const uint32_t a[4] = {half ? w[0].z : w[0].x, half ? w[1].z : w[1].x, half ? w[0].w : w[0].y,
                         half ? w[1].w : w[1].y};
#endif
  const uint32_t b[2] = {half ? x.z : x.x, half ? x.w : x.y};
  MultiplyAccumulate(sum, a, b);
}

// One block of K: the tiles of w times the tiles of x. Products that follow each other belong to
// different sums, so that none waits for the one before.
template <int kWeightTiles, int kRowTiles>
__device__ __forceinline__ void MultiplyBlock(float (&sum)[kWeightTiles][kRowTiles][4],
                                              const uint4 (&w)[kWeightTiles][2],
                                              const uint4 (&x)[kRowTiles]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int i = 0; i < kWeightTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kRowTiles; ++j) MultiplyHalf(sum[i][j], w[i], x[j], half);
    }
  }
}

// What out held where this lane is to add to the tile whose first column is n and whose first row
// is m; zeros where it does not add.
__device__ __forceinline__ void LoadBefore(float (&before)[4], const MatmulArgs& args, int n,
                                           int m) {
  const int lane = threadIdx.x % kWarp;
  const int row = m + lane % 4 * 2;
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const int r = row + e % 2;
    const int column = n + lane / 4 + e / 2 * 8;
    before[e] =
        args.add && r < args.m && column < args.n ? args.out[size_t(r) * args.n + column] : 0.0f;
  }
}

// Writes this lane's part of that tile.
__device__ __forceinline__ void Store(const MatmulArgs& args, int n, int m,
                                      const float (&before)[4], const float (&total)[4]) {
  const int lane = threadIdx.x % kWarp;
  const int row = m + lane % 4 * 2;
  if (args.gated != nullptr) {
    // The tile's rows 0..7 are gates, 8..15 their ups.
    const int column = n / 2 + lane / 4;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      if (row + e < args.m && n < args.n) {
        args.gated[size_t(row + e) * (args.n / 2) + column] =
            __float2bfloat16(SiluMulOf(total[e], total[2 + e]));
      }
    }
    return;
  }
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const int r = row + e % 2;
    const int column = n + lane / 4 + e / 2 * 8;
    // A product that is not added keeps its sign where it is zero.
    const float value = args.add ? __fadd_rn(before[e], total[e]) : total[e];
#if defined(BUG_MATMUL_STORE_BOUND)  // planted: one row too many
    if (r <= args.m && column < args.n) args.out[size_t(r) * args.n + column] = value;
#else
    if (r < args.m && column < args.n) args.out[size_t(r) * args.n + column] = value;
#endif
  }
}

// --- few rows --------------------------------------------------------------------------------

// What a lane holds of one block of K.
template <int kWeightTiles, int kRowTiles>
struct Fragments {
  uint4 w[kWeightTiles][2];
  uint4 x[kRowTiles];
};

// This lane's rows. Rows past the end are the last one again: what comes of them is not stored, and
// what does not exist is not read.
template <int kWeightTiles, int kRowTiles>
struct Rows {
  const bf16* w[kWeightTiles][2];
  const bf16* x[kRowTiles];

  __device__ __forceinline__ Rows(const MatmulArgs& args, int n0, int m0) {
    const int row = threadIdx.x % kWarp / kLanesInRow;
#pragma unroll
    for (int i = 0; i < 2 * kWeightTiles; ++i) {
      w[i / 2][i % 2] = args.w + size_t(min(n0 + 8 * i + row, args.n - 1)) * args.k;
    }
#pragma unroll
    for (int j = 0; j < kRowTiles; ++j) {
#if defined(BUG_MATMUL_ROW_CLAMP)  // planted: reads rows that x does not have
      x[j] = args.x + size_t(m0 + kTileM * j + row) * args.k;
#else
      x[j] = args.x + size_t(min(m0 + kTileM * j + row, args.m - 1)) * args.k;
#endif
    }
  }

  // Zeros past the end of K.
  __device__ __forceinline__ void Load(Fragments<kWeightTiles, kRowTiles>& to, int block,
                                       int k_end) const {
    const int k = block * kBlockK + threadIdx.x % kLanesInRow * kLaneK;
#if defined(BUG_MATMUL_K_TAIL)  // planted: a lane past the end of K reads the next row
    const bool valid = block * kBlockK < k_end;
#else
    const bool valid = k < k_end;
#endif
#pragma unroll
    for (int i = 0; i < 2 * kWeightTiles; ++i) {
      to.w[i / 2][i % 2] = valid ? LoadOnce16(w[i / 2][i % 2] + k) : uint4{0, 0, 0, 0};
    }
#pragma unroll
    for (int j = 0; j < kRowTiles; ++j) {
      to.x[j] = valid ? __ldg(reinterpret_cast<const uint4*>(x[j] + k)) : uint4{0, 0, 0, 0};
    }
  }
};

// One chain. kAhead blocks of K are on their way to the registers while one is multiplied; leaving
// at its end, rather than passing by what is not there, keeps each step's loads before the next
// step's products.
template <int kAhead, int kWeightTiles, int kRowTiles>
__device__ __forceinline__ void MultiplyChain(float (&sum)[kWeightTiles][kRowTiles][4],
                                              const Rows<kWeightTiles, kRowTiles>& rows, int chain,
                                              int k_end) {
  const int blocks = CeilDiv(k_end, kBlockK);
  Fragments<kWeightTiles, kRowTiles> ahead[kAhead];
#pragma unroll
  for (int a = 0; a < kAhead; ++a) rows.Load(ahead[a], chain + a * kMatmulSplits, k_end);
  for (int block = chain;;) {
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      if (block >= blocks) return;
      MultiplyBlock(sum, ahead[a].w, ahead[a].x);
      rows.Load(ahead[a], block + kAhead * kMatmulSplits, k_end);
      block += kMatmulSplits;
    }
  }
}

// A block computes 16 kWeightTiles columns and 8 kRowTiles rows of out; its warp s is chain s, and
// the block reads 512 contiguous bytes of each row at a time.
template <int kWeightTiles, int kRowTiles, int kAhead, int kBlocksPerSm>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm) StreamKernel(const MatmulArgs args) {
  constexpr int kTiles = kWeightTiles * kRowTiles;
  static_assert(kTiles <= kMatmulSplits, "a warp adds up one tile");
  KVASIR_SHARED(float4, partial, [kTiles][kMatmulSplits][kWarp]);
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  const int n0 = blockIdx.y * kTileN * kWeightTiles;
  const int m0 = blockIdx.x * kTileM * kRowTiles;
  const int blocks = CeilDiv(args.k, kBlockK);
  float sum[kWeightTiles][kRowTiles][4] = {};
  MultiplyChain<kAhead>(sum, Rows<kWeightTiles, kRowTiles>(args, n0, m0), warp, args.k);

#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const float(&s)[4] = sum[tile / kRowTiles][tile % kRowTiles];
    partial[tile][warp][lane] = make_float4(s[0], s[1], s[2], s[3]);
  }
  const int n = n0 + warp / kRowTiles * kTileN;
  const int m = m0 + warp % kRowTiles * kTileM;
  float before[4];
  if (warp < kTiles) LoadBefore(before, args, n, m);
#if !defined(BUG_MATMUL_NO_BARRIER)  // planted: adds chains that have not ended
  __syncthreads();
#endif
  if (warp >= kTiles) return;
  float total[4] = {};
  for (int i = 0; i < min(kMatmulSplits, blocks); ++i) {
#if defined(BUG_MATMUL_SPLIT_ORDER)  // planted: an order that depends on the tile
    const float4 s = partial[warp][(i + warp) % kMatmulSplits][lane];
#else
    const float4 s = partial[warp][i][lane];
#endif
    total[0] += s.x;
    total[1] += s.y;
    total[2] += s.z;
    total[3] += s.w;
  }
  Store(args, n, m, before, total);
}

template <int kWeightTiles, int kRowTiles, int kAhead, int kBlocksPerSm>
cudaError_t LaunchStream(const MatmulArgs& args, cudaStream_t stream) {
  const dim3 grid(CeilDiv(args.m, kTileM * kRowTiles), CeilDiv(args.n, kTileN * kWeightTiles));
  return Launch(StreamKernel<kWeightTiles, kRowTiles, kAhead, kBlocksPerSm>, grid, kThreads, 0,
                stream, args);
}

// --- many rows -------------------------------------------------------------------------------

constexpr int kBigN = 128;  // columns of out that a block computes
constexpr int kBigM = 128;  // rows
constexpr int kWarpsM = 4;  // the block's warps along M
constexpr int kWarpsN = kThreads / kWarp / kWarpsM;
constexpr int kWarpTilesN = kBigN / kWarpsN / kTileN;
constexpr int kWarpTilesM = kBigM / kWarpsM / kTileM;
constexpr int kStages = 3;                             // blocks of K in shared memory
constexpr int kStageSize = (kBigN + kBigM) * kBlockK;  // elements: rows of w, then rows of x
constexpr size_t kTileSharedBytes = kStages * kStageSize * sizeof(bf16);  // 48 KiB

// The block of K after this one: the chains are gone through one after the other.
__device__ __forceinline__ int Following(int block, int blocks) {
#if defined(BUG_MATMUL_TILE_ORDER)  // planted: K in its own order, not chain by chain
  return block + 1;
#endif
  block += kMatmulSplits;
  return block < blocks ? block : block % kMatmulSplits + 1;
}

// Enqueues the copy of one block of K of the tile's rows. Rows of 64 bytes lie densely: both what
// eight threads write here and what eight lanes read are 128 contiguous bytes, in every bank once.
__device__ __forceinline__ void CopyStage(bf16* stage, const MatmulArgs& args, int n0, int m0,
                                          int block) {
  const int lane_k = threadIdx.x % kLanesInRow * kLaneK;
  const int k = block * kBlockK + lane_k;
  const bool valid = k < args.k;
  constexpr int kRowsAtOnce = kThreads / kLanesInRow;
#pragma unroll
  for (int first = 0; first < kBigN + kBigM; first += kRowsAtOnce) {
    const int row = first + threadIdx.x / kLanesInRow;
    const bf16* const from = first < kBigN
                                 ? args.w + size_t(min(n0 + row, args.n - 1)) * args.k
                                 : args.x + size_t(min(m0 + row - kBigN, args.m - 1)) * args.k;
    CopyAsync16(stage + row * kBlockK + lane_k, from + (valid ? k : 0), valid);
  }
}

// A warp's tiles: kWarpTilesN of 16 columns, kWarpTilesM of 8 rows. The chains follow each other;
// each one's sum is added to the total when it ends.
__global__ void __launch_bounds__(kThreads) TileKernel(const MatmulArgs args) {
  KVASIR_DYNAMIC_SHARED(bf16, stages);  // [kStages][kBigN + kBigM][kBlockK]
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  const int n0 = blockIdx.y * kBigN;
  const int m0 = blockIdx.x * kBigM;
  const int warp_n = warp / kWarpsM * kWarpTilesN * kTileN;
  const int warp_m = warp % kWarpsM * kWarpTilesM * kTileM;
  const int blocks = CeilDiv(args.k, kBlockK);

  int to_copy = 0;
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step) {
    if (step < blocks) CopyStage(stages + step * kStageSize, args, n0, m0, to_copy);
    to_copy = Following(to_copy, blocks);
    CopyAsyncCommit();
  }
  float sum[kWarpTilesN][kWarpTilesM][4] = {};
  float total[kWarpTilesN][kWarpTilesM][4] = {};
  int block = 0;
  for (int step = 0; step < blocks; ++step) {
#if defined(BUG_MATMUL_WAIT)  // planted: a group too few
    CopyAsyncWait<kStages - 1>();
#else
    CopyAsyncWait<kStages - 2>();
#endif
    // This step's copies of all threads are there, and all have read the stage that is filled next.
#if !defined(BUG_MATMUL_STAGE_BARRIER)  // planted: neither is so
    __syncthreads();
#endif
    if (step + kStages - 1 < blocks) {
      CopyStage(stages + (step + kStages - 1) % kStages * kStageSize, args, n0, m0, to_copy);
      to_copy = Following(to_copy, blocks);
    }
    CopyAsyncCommit();

    // Eight rows are 32 pieces of 16 bytes, a lane's piece is its own number.
    const bf16* const stage = stages + step % kStages * kStageSize;
    uint4 w[kWarpTilesN][2];
    uint4 x[kWarpTilesM];
#pragma unroll
    for (int i = 0; i < 2 * kWarpTilesN; ++i) {
      w[i / 2][i % 2] = reinterpret_cast<const uint4*>(stage + (warp_n + 8 * i) * kBlockK)[lane];
    }
#pragma unroll
    for (int j = 0; j < kWarpTilesM; ++j) {
      x[j] = reinterpret_cast<const uint4*>(stage + (kBigN + warp_m + 8 * j) * kBlockK)[lane];
    }
    MultiplyBlock(sum, w, x);

    if (block + kMatmulSplits >= blocks) {
#pragma unroll
      for (int i = 0; i < kWarpTilesN * kWarpTilesM * 4; ++i) {
        float& s = sum[i / 4 / kWarpTilesM][i / 4 % kWarpTilesM][i % 4];
        total[i / 4 / kWarpTilesM][i / 4 % kWarpTilesM][i % 4] += s;
        s = 0;
      }
    }
    block = Following(block, blocks);
  }
#pragma unroll
  for (int i = 0; i < kWarpTilesN; ++i) {
#pragma unroll
    for (int j = 0; j < kWarpTilesM; ++j) {
      const int n = n0 + warp_n + i * kTileN;
      const int m = m0 + warp_m + j * kTileM;
      float before[4];
      LoadBefore(before, args, n, m);
      Store(args, n, m, before, total[i][j]);
    }
  }
}

}  // namespace

cudaError_t LoadMatmulKernels() {
  return FirstError(LoadKernel(StreamKernel<1, 1, 4, 3>), LoadKernel(StreamKernel<1, 2, 4, 2>),
                    LoadKernel(StreamKernel<2, 4, 2, 2>), LoadKernel(TileKernel, kTileSharedBytes));
}

// Few rows: weights at memory speed. More rows share a load of weights among larger tiles, until
// tiles of 128 x 128 are enough to keep a GPU busy.
cudaError_t Matmul(const MatmulArgs& args, cudaStream_t stream) {
  if (args.m == 0) return cudaSuccess;
  if (args.m <= 8) return LaunchStream<1, 1, 4, 3>(args, stream);
  if (args.m <= 16) return LaunchStream<1, 2, 4, 2>(args, stream);
  if (args.m <= 64 || (args.m <= 256 && args.n < 8192)) {
    return LaunchStream<2, 4, 2, 2>(args, stream);
  }
  const dim3 grid(CeilDiv(args.m, kBigM), CeilDiv(args.n, kBigN));
  return Launch(TileKernel, grid, kThreads, kTileSharedBytes, stream, args);
}

}  // namespace kvasir::cuda
