#include "engine/backend/cuda/attention_stream.cuh"
#include "engine/backend/cuda/attention_tile.cuh"
#include "engine/backend/cuda/gpu.cuh"
#include "engine/backend/cuda/kernels.h"

namespace kvasir::cuda {
namespace {

// How the warps of a block share a tile: so many to each row tile of 16 rows, of which each
// computes the scores of its part of the keys, and all scores known, its columns of the output.
// Decode has one row tile.
template <int D, int kRowTiles>
struct Shares {
  static constexpr int kRows = kRowTiles * kTileRows;
  static constexpr int kSharers = kRowTiles == 1 ? 4 : 2;
  static constexpr int kThreads = kRowTiles * kSharers * kWarp;
  static constexpr int kKeys = kKeyTile / kSharers;
  static constexpr int kScoreTiles = kKeys / 8;
  static constexpr int kColumns = D / kSharers < 8 ? 8 : D / kSharers;
  static constexpr int kColumnTiles = kColumns / 8;
  // Of a multiprocessor: what registers are rationed for, so that none are spilled.
  static constexpr int kBlocksAtOnce = kRowTiles == 1 ? 3 : D >= 64 ? 1 : 2;
};

// A block's shared memory; all tiles with their chunks permuted.
template <int D, int kRowTiles>
struct Workspace {
  using Share = Shares<D, kRowTiles>;
  bf16 keys_values[2][kKeyTile][D];
  bf16 q[Share::kRows][D];
  bf16 weights[kRowTiles][kTileRows][kKeyTile];
  float largest[kRowTiles][Share::kSharers][kTileRows];  // score, of a sharer's keys
};

// Row r of a tile is head r % G of the group, of token r / G.
struct QueryRow {
  int token;  // row of the batch
  int head;
};
__device__ __forceinline__ QueryRow RowOf(const AttentionTile& tile, int row, int group,
                                          int kv_head) {
#if defined(BUG_ATTENTION_GROUP)
  return {tile.first_token + row / group, row % group};  // planted: the first kv head's heads
#else
  return {tile.first_token + row / group, kv_head * group + row % group};
#endif
}

// The tile's queries, rounded, to shared memory; rows past the last one are copies of that.
// q: [kRows][D]
template <int D, int kRows, int kThreads>
__device__ __forceinline__ void LoadQueries(bf16* q, const AttentionArgs& args,
                                            const AttentionTile& tile, int kv_head) {
  constexpr int kQuads = D / 4;
  const int group = args.heads / args.kv.kv_heads;
  const int stride = (args.heads + 2 * args.kv.kv_heads) * D;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kQuads; i += kThreads) {
    const int row = i / kQuads;
    const int quad = i % kQuads;
    const QueryRow from = RowOf(tile, min(row, tile.tokens * group - 1), group, kv_head);
    const float4 v = *reinterpret_cast<const float4*>(args.qkv + size_t{1} * from.token * stride +
                                                      from.head * D + 4 * quad);
    *reinterpret_cast<uint2*>(q + TileOffset<D>(row, quad / 2) + quad % 2 * 4) =
        make_uint2(PackPair(v.x, v.y), PackPair(v.z, v.w));
  }
}

// The state of a row of a part: D outputs, the largest score, the sum of weights, and padding to
// 16 bytes.
template <int D>
__device__ __forceinline__ float* StateOf(const AttentionArgs& args, const AttentionTile& tile,
                                          int part, int row, int kv_head) {
  const int rows = tile.tokens * (args.heads / args.kv.kv_heads);
  const size_t state = size_t{1} * tile.first_state + part * rows + row;
  return args.partial + (state * args.kv.kv_heads + kv_head) * (D + kStateExtra);
}

template <int D, int kColumnTiles>
__device__ __forceinline__ void StoreState(float* to, const SoftmaxState<kColumnTiles>& state,
                                           int half, int first_column) {
  const int column = first_column + static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int i = 0; i < kColumnTiles; ++i) {
    *reinterpret_cast<float2*>(to + column + 8 * i) =
        make_float2(state.out[i][2 * half], state.out[i][2 * half + 1]);
  }
  if (column == 0) {
    *reinterpret_cast<float2*>(to + D) =
        make_float2(state.max[half], state.out[kColumnTiles][2 * half]);
  }
}

template <int kColumnTiles>
__device__ __forceinline__ void StoreOutput(bf16* to, const SoftmaxState<kColumnTiles>& state,
                                            int half, int first_column) {
  const int column = first_column + static_cast<int>(threadIdx.x) % 4 * 2;
  const float inverse_sum = 1.0f / state.out[kColumnTiles][2 * half];
#pragma unroll
  for (int i = 0; i < kColumnTiles; ++i) {
    *reinterpret_cast<uint32_t*>(to + column + 8 * i) =
        PackPair(Normalize(state.out[i][2 * half], inverse_sum),
                 Normalize(state.out[i][2 * half + 1], inverse_sum));
  }
}

// The largest score of each of the lane's rows among all of the tile's keys.
template <int D, int kRowTiles>
__device__ __forceinline__ void ShareLargest(float (&largest)[2], Workspace<D, kRowTiles>& work,
                                             int row_tile, int sharer) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (lane % 4 < 2) {
    work.largest[row_tile][sharer][lane / 4 + lane % 4 * 8] =
        lane % 4 == 0 ? largest[0] : largest[1];
  }
#if !defined(BUG_ATTENTION_LARGEST)  // planted: read before they are written
  __syncthreads();
#endif
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int n = 0; n < Shares<D, kRowTiles>::kSharers; ++n) {
      largest[half] = fmaxf(largest[half], work.largest[row_tile][n][lane / 4 + 8 * half]);
#if defined(BUG_ATTENTION_MANY_LARGEST)  // planted: another row's, which divides out in exact sums
      largest[half] = fmaxf(largest[half], work.largest[0][n][lane / 4 + 8 * half]);
#endif
    }
  }
}

// All spans of a tile. Leaves the output, or where the tile is one of several parts, its state.
template <int D, int kRowTiles>
__device__ __forceinline__ void ComputeTile(const AttentionArgs& args, const AttentionTile& tile,
                                            int kv_head, Workspace<D, kRowTiles>& work) {
  using Share = Shares<D, kRowTiles>;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
#if defined(BUG_ATTENTION_MANY_SHARERS)
  const int row_tile = warp % kRowTiles;  // planted: both of a tile's warps do the same share
#else
  const int row_tile = warp / Share::kSharers;
#endif
  const int sharer = warp % Share::kSharers;
  const int group = args.heads / args.kv.kv_heads;
  const int live_rows = tile.tokens * group;
  const int first_row = row_tile * kTileRows + static_cast<int>(threadIdx.x) % kWarp / 4;
  const int first_column = sharer * Share::kColumns;

  int position[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    // Rows past the tile's last one do the same work as that and leave nothing.
#if defined(BUG_ATTENTION_MANY_MASK)
    const int row = min(first_row % kTileRows + 8 * half, live_rows - 1);  // planted: of tile 0
#else
    const int row = min(first_row + 8 * half, live_rows - 1);
#endif
    position[half] = args.positions[RowOf(tile, row, group, kv_head).token];
  }
  LoadQueries<D, Share::kRows, Share::kThreads>(work.q[0], args, tile, kv_head);

  const int first_key = tile.first_span * kSpanKeys;
#if defined(BUG_ATTENTION_MANY_END)
  const int last_token = tile.first_token;  // planted: what the first of the rows sees
#else
  const int last_token = tile.first_token + tile.tokens - 1;
#endif
  const int end_key = min(args.positions[last_token] + 1, first_key + tile.spans * kSpanKeys);
  KeyValueStream<D, Share::kThreads> stream(args.kv, args.block_table + tile.table, kv_head,
                                            first_key, end_key, work.keys_values[0][0]);
  SoftmaxState<Share::kColumnTiles> total;
  for (int span_key = first_key; span_key < end_key; span_key += kSpanKeys) {
    SoftmaxState<Share::kColumnTiles> state;
    for (int key = span_key; key < min(span_key + kSpanKeys, end_key); key += kKeyTile) {
      float s[Share::kScoreTiles][4];
      float largest[2];
      const bf16* const k = stream.Keys(key);
      ComputeScores<D>(s, work.q[row_tile * kTileRows], k + sharer * Share::kKeys * D);
      MaskScores(s, key + sharer * Share::kKeys, position);
      FindLargest(largest, s);
      ShareLargest(largest, work, row_tile, sharer);
      Softmax(s, state, largest, kScoreScale<D>);
#if defined(BUG_ATTENTION_MANY_WEIGHTS)
      StoreWeights(work.weights[0][0], s, sharer * Share::kScoreTiles);  // planted: everyone's
#else
      StoreWeights(work.weights[row_tile][0], s, sharer * Share::kScoreTiles);
#endif
      const bf16* const v = stream.Values(key);
      if (first_column < D) {
        AddValues<D>(state, work.weights[row_tile][0], v, first_column / 8);
      }
    }
    if (tile.parts > 0) {
      total = state;
    } else {
      FoldState(total, state, kScoreScale<D>);
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first_row + 8 * half;
#if defined(BUG_ATTENTION_MANY_DEAD_ROWS)  // planted: rows that are not the tile's are written
    if ((kRowTiles == 1 && row >= live_rows) || first_column >= D) continue;
#else
    if (row >= live_rows || first_column >= D) continue;
#endif
    if (tile.parts > 0) {
      StoreState<D>(StateOf<D>(args, tile, tile.part, row, kv_head), total, half, first_column);
    } else {
      const QueryRow to = RowOf(tile, row, group, kv_head);
      StoreOutput(args.out + (size_t{1} * to.token * args.heads + to.head) * D, total, half,
                  first_column);
    }
  }
}

// Whether this block is the last of those that have the tile's parts: then it sees their states.
__device__ __forceinline__ bool TakeTicket(const AttentionArgs& args, const AttentionTile& tile,
                                           int kv_head) {
#if !defined(BUG_ATTENTION_FENCE)  // planted: the ticket may be seen before the state
  __threadfence();
#endif
  __syncthreads();
  bool last = false;
  if (threadIdx.x == 0) {
    unsigned* const ticket = args.tickets + size_t{1} * tile.ticket * args.kv.kv_heads + kv_head;
    const unsigned end = static_cast<unsigned>(tile.parts - 1);
#if defined(BUG_ATTENTION_TICKET)
    last = atomicAdd(ticket, 1u) == end;  // planted: not zero again for the next launch
#else
    last = atomicInc(ticket, end) == end;
#endif
    __threadfence();
  }
  return __syncthreads_or(last) != 0;
}

// out = the parts' states folded in order: four columns a thread.
template <int D, int kThreads>
__device__ __forceinline__ void FoldParts(const AttentionArgs& args, const AttentionTile& tile,
                                          int kv_head) {
  constexpr int kQuads = D / 4;
  const int group = args.heads / args.kv.kv_heads;
  const size_t part_stride = size_t{1} * tile.tokens * group * args.kv.kv_heads * (D + kStateExtra);
#if defined(BUG_ATTENTION_MANY_FOLD)
  const int rows = min(tile.tokens * group, kTileRows);  // planted: those of a decode tile
#else
  const int rows = tile.tokens * group;
#endif
  for (int i = static_cast<int>(threadIdx.x); i < rows * kQuads; i += kThreads) {
    const int row = i / kQuads;
    const float* const first = StateOf<D>(args, tile, 0, row, kv_head);
    float max = -INFINITY;
    float sum = 0;
    float4 out = make_float4(0, 0, 0, 0);
#pragma unroll 4
    for (int n = 0; n < tile.parts; ++n) {
#if defined(BUG_ATTENTION_ORDER)
      const float* const from =
          first + (n + tile.part) % tile.parts * part_stride;  // planted: own first
#else
      const float* const from = first + n * part_stride;
#endif
      const float4 part = __ldcg(reinterpret_cast<const float4*>(from) + i % kQuads);
      const float2 part_max_sum = __ldcg(reinterpret_cast<const float2*>(from + D));
      const FoldFactors factors = FactorsOf(max, part_max_sum.x, kScoreScale<D>);
      max = factors.max;
      sum = Fold(sum, part_max_sum.y, factors);
      out = make_float4(Fold(out.x, part.x, factors), Fold(out.y, part.y, factors),
                        Fold(out.z, part.z, factors), Fold(out.w, part.w, factors));
    }
    const float inverse_sum = 1.0f / sum;
    const QueryRow to = RowOf(tile, row, group, kv_head);
    *reinterpret_cast<uint2*>(args.out + (size_t{1} * to.token * args.heads + to.head) * D +
                              i % kQuads * 4) =
        make_uint2(PackPair(Normalize(out.x, inverse_sum), Normalize(out.y, inverse_sum)),
                   PackPair(Normalize(out.z, inverse_sum), Normalize(out.w, inverse_sum)));
  }
}

// Grid (blocks, K). Flash attention (Dao 2023), the context cut among blocks as in flash decoding,
// over pages (Kwon et al. 2023).
template <int D, int kRowTiles>
__global__ void __launch_bounds__(Shares<D, kRowTiles>::kThreads,
                                  Shares<D, kRowTiles>::kBlocksAtOnce)
    AttentionKernel(AttentionArgs args) {
  using Work = Workspace<D, kRowTiles>;
  KVASIR_DYNAMIC_SHARED(Work, work);
  const int kv_head = static_cast<int>(blockIdx.y);
  const int count = *args.count;
  for (int i = static_cast<int>(blockIdx.x); i < count; i += static_cast<int>(gridDim.x)) {
    const AttentionTile& tile = args.tiles[i];
    ComputeTile<D, kRowTiles>(args, tile, kv_head, *work);
    if (tile.parts > 0 && TakeTicket(args, tile, kv_head)) {
      FoldParts<D, Shares<D, kRowTiles>::kThreads>(args, tile, kv_head);
    }
    // No barrier: the next tile's queries and keys may come where others are still at this one's
    // values, which they do not touch.
  }
}

template <int D, int kRowTiles>
cudaError_t LaunchFor(const AttentionArgs& args, int blocks, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(args.kv.kv_heads));
  return Launch(AttentionKernel<D, kRowTiles>, grid, Shares<D, kRowTiles>::kThreads,
                sizeof(Workspace<D, kRowTiles>), stream, args);
}

template <int D>
cudaError_t LaunchFor(const AttentionArgs& args, bool few, int blocks, cudaStream_t stream) {
  return few ? LaunchFor<D, 1>(args, blocks, stream) : LaunchFor<D, 4>(args, blocks, stream);
}

template <int D, int kRowTiles>
cudaError_t BlocksAtOnce(int* blocks) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, AttentionKernel<D, kRowTiles>,
                                                       Shares<D, kRowTiles>::kThreads,
                                                       sizeof(Workspace<D, kRowTiles>));
}
template <int D>
cudaError_t BlocksAtOnce(bool few, int* blocks) {
  return few ? BlocksAtOnce<D, 1>(blocks) : BlocksAtOnce<D, 4>(blocks);
}

template <int D>
cudaError_t LoadFor() {
  return FirstError(LoadKernel(AttentionKernel<D, 1>, sizeof(Workspace<D, 1>)),
                    LoadKernel(AttentionKernel<D, 4>, sizeof(Workspace<D, 4>)));
}

}  // namespace

cudaError_t LoadAttentionKernels() {
  return FirstError(LoadFor<16>(), LoadFor<32>(), LoadFor<64>(), LoadFor<128>());
}

cudaError_t Attention(const AttentionArgs& args, bool few, int blocks, cudaStream_t stream) {
  switch (args.kv.head_dim) {
    case 16:
      return LaunchFor<16>(args, few, blocks, stream);
    case 32:
      return LaunchFor<32>(args, few, blocks, stream);
    case 64:
      return LaunchFor<64>(args, few, blocks, stream);
    case 128:
      return LaunchFor<128>(args, few, blocks, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

cudaError_t AttentionBlocksAtOnce(int head_dim, bool few, int* blocks) {
  switch (head_dim) {
    case 16:
      return BlocksAtOnce<16>(few, blocks);
    case 32:
      return BlocksAtOnce<32>(few, blocks);
    case 64:
      return BlocksAtOnce<64>(few, blocks);
    case 128:
      return BlocksAtOnce<128>(few, blocks);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace kvasir::cuda
