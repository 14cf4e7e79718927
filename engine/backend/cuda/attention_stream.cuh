// K and V on their way from the paged cache to shared memory.
#ifndef KVASIR_ENGINE_BACKEND_CUDA_ATTENTION_STREAM_CUH_
#define KVASIR_ENGINE_BACKEND_CUDA_ATTENTION_STREAM_CUH_

#include "engine/backend/cuda/attention_tile.cuh"
#include "engine/backend/cuda/gpu.cuh"
#include "engine/backend/cuda/kernels.h"
#include "engine/batch.h"

namespace kvasir::cuda {

// The tiles of K and V of some spans of one sequence and kv head. There is one place for K and one
// for V: while one is worked on, the other is on its way. All threads of the block call everything
// together, Keys(first_key), Values(first_key), Keys(first_key + kKeyTile), ...
template <int D, int kThreads>
class KeyValueStream {
 public:
  // Keys [first_key, end_key) of the sequence whose row of the block table is `table`; what lies
  // between end_key and its tile's end is not read and comes as zeros.
  // shared: [2][kKeyTile][D].  REQUIRES: first_key % kSpanKeys == 0.
  __device__ __forceinline__ KeyValueStream(const KvView& kv, const int* table, int kv_head,
                                            int first_key, int end_key, bf16* shared)
      : data_(kv.data + kv_head * 2 * kBlockValues),
        block_stride_(kv.block_stride),
        table_(table),
        end_key_(end_key),
        shared_(shared) {
    Load(first_key, 0);
  }

  // The tile that begins with `key`, [kKeyTile][D]; valid until the call after this.
  __device__ __forceinline__ const bf16* Keys(int key) {
    Arrive();
    Load(key, 1);
    return shared_;
  }
  __device__ __forceinline__ const bf16* Values(int key) {
    Arrive();
    Load(key + kKeyTile, 0);
    return shared_ + kTileValues;
  }

 private:
  static constexpr int kTileValues = kKeyTile * D;
  static constexpr int kBlockValues = kBlockTokens * D;
  static_assert(kSpanKeys == kWarp * kBlockTokens, "a lane for each block of a span");

  // Everyone's copies are there, and everyone has done with what is overwritten next.
  __device__ __forceinline__ void Arrive() {
#if !defined(BUG_ATTENTION_WAIT)  // planted: the tile may still be under way
    CopyAsyncWait<0>();
#endif
#if !defined(BUG_ATTENTION_BARRIER)  // planted: a thread waits for its own copies only
    __syncthreads();
#endif
  }

  // part: 0 for K, 1 for V. Past the end nothing.
  __device__ __forceinline__ void Load(int first_key, int part) {
    if (first_key >= end_key_) return;
    if (part == 0 && first_key % kSpanKeys == 0) ReadTable(first_key);
    constexpr int kChunks = D / 8;             // of 16 bytes, a row
    constexpr int kRows = kThreads / kChunks;  // at a time
    const int first_row = static_cast<int>(threadIdx.x) / kChunks;
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
#if defined(BUG_ATTENTION_SWIZZLE)
    bf16* const to = shared_ + part * kTileValues + first_row * D + chunk * 8;  // planted
#else
    bf16* const to = shared_ + part * kTileValues + TileOffset<D>(first_row, chunk);
#endif
    const bf16* const from = data_ + part * kBlockValues + first_row % kBlockTokens * D + chunk * 8;
    if (kRows > kKeyTile && first_row >= kKeyTile) return;  // whole warps
#pragma unroll
    for (int row = 0; row < kKeyTile; row += kRows) {
      const int key = first_key + first_row + row;
      const int block = __shfl_sync(kFullMask, blocks_, key % kSpanKeys / kBlockTokens);
#if defined(BUG_ATTENTION_CONTEXT)
      const bool valid = key <= end_key_;  // planted: one slot too many
#else
      const bool valid = key < end_key_;
#endif
      CopyAsync16(to + row * D, from + size_t{1} * block * block_stride_ + row % kBlockTokens * D,
                  valid);
    }
    CopyAsyncCommit();
  }

  // Each lane keeps one block of the span.
  __device__ __forceinline__ void ReadTable(int first_key) {
    const int block = first_key / kBlockTokens + static_cast<int>(threadIdx.x) % kWarp;
#if defined(BUG_ATTENTION_TABLE)
    blocks_ = table_[block];  // planted: past the table's end
#else
    blocks_ = block * kBlockTokens < end_key_ ? table_[block] : 0;
#endif
  }

  const bf16* data_;  // the kv head's K in block 0
  int block_stride_;  // values
  const int* table_;
  int end_key_;
  int blocks_ = 0;  // entry of the block table for the lane's block of the span
  bf16* shared_;
};

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_ATTENTION_STREAM_CUH_
