#ifndef KVASIR_ENGINE_BACKEND_CUDA_ATTENTION_PLAN_H_
#define KVASIR_ENGINE_BACKEND_CUDA_ATTENTION_PLAN_H_

#include <cstddef>
#include <vector>

#include "engine/backend/cuda/kernels.h"
#include "engine/batch.h"

namespace kvasir::cuda {

// What the cut of attention into tiles depends on besides the batch. The bits do not depend on it.
struct AttentionGrid {
  int group = 1;     // G, from 1 to kTileRows
  int kv_heads = 1;  // K: so many blocks work on a tile
  int head_dim = 0;  // D
  // Of each kernel, the blocks that the device holds at once: with fewer, multiprocessors idle.
  int few_blocks = 1;
  int many_blocks = 1;
};

// How much a plan may hold: what the device's memory is planned from.
struct AttentionRoom {
  int few_tiles = 0;
  int many_tiles = 0;
  int states = 0;   // of AttentionArgs::partial, few and many together
  int tickets = 0;  // of AttentionArgs::tickets, times K

  size_t partial_bytes(const AttentionGrid& grid) const {
    return sizeof(float) * states * grid.kv_heads * (grid.head_dim + kStateExtra);
  }
};

// Room for every step of at most `max_tokens` rows of `max_sequences` sequences with `max_context`
// keys, but for no more states than fit into `max_partial_bytes`: where a step would need more,
// tiles go through all their spans themselves.
AttentionRoom RoomForAttention(const AttentionGrid& grid, int max_tokens, int max_sequences,
                               int max_context, size_t max_partial_bytes);

// A step's tiles. `few` and `many` use different states and tickets.
struct AttentionPlan {
  std::vector<AttentionTile> few;   // of at most kTileRows rows: decode
  std::vector<AttentionTile> many;  // of at most 4 kTileRows
  int states = 0;
  int tickets = 0;

  // After this no plan within the room asks the heap.
  void Reserve(const AttentionRoom& room) {
    few.reserve(room.few_tiles);
    many.reserve(room.many_tiles);
  }
};

// A sequence with at most kTileRows rows (token, head) becomes one tile for each span of its
// context. Longer ones become tiles of 4 kTileRows rows, which go through their spans themselves
// unless there are too few of them to keep the device busy.
void PlanAttention(const Batch& batch, const AttentionGrid& grid, const AttentionRoom& room,
                   AttentionPlan& plan);

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_ATTENTION_PLAN_H_
