#ifndef KVASIR_ENGINE_BACKEND_CPU_ATTENTION_H_
#define KVASIR_ENGINE_BACKEND_CPU_ATTENTION_H_

#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/kv_layout.h"
#include "engine/backend/cpu/thread_pool.h"

namespace kvasir {

// Causal attention of a ragged batch over the paged cache: who computes which rows and spans. What
// is computed for a row is fixed: its spans (kKeySpan keys, aligned to absolute position), each by
// the kernel attention_span, folded in order.
class PagedAttention {
 public:
  // REQUIRES: the references outlive this.
  PagedAttention(const Kernels& kernels, const AttentionShape& shape, const KvLayout& layout,
                 ThreadPool& pool);

  // out: [T, H * D] activation dtype; qkv: [T, (H + 2K) * D] f32.
  void Run(void* out, const float* qkv, const char* kv, const DeviceBatch& batch);

 private:
  // The query rows of one kv head's group for consecutive tokens of one sequence, token by token.
  struct QueryTile {
    int sequence = 0;
    int kv_head = 0;
    int first_token = 0;  // row of the batch
    int tokens = 0;
    int keys = 0;           // that the last token sees
    size_t first_part = 0;  // where spans are split: of its parts
  };
  struct SplitSpan {
    int tile = 0;
    int span = 0;
  };
  // One worker's memory.
  struct Scratch {
    std::vector<float> q;       // [rows, D] activation dtype
    std::vector<float> scores;  // [rows, kKeyTile]
    std::vector<char> values;   // V of one block
    std::vector<int> visible;   // [rows]
    std::vector<float> total;   // a SoftmaxState
    std::vector<float> span;    // a SoftmaxState
  };

  void PlanTiles(const DeviceBatch& batch);
  bool PlanSplits();
  void GatherQueries(const QueryTile& tile, const float* qkv, const DeviceBatch& batch,
                     Scratch& scratch) const;
  void ComputeSpan(const QueryTile& tile, int span, const char* kv, const DeviceBatch& batch,
                   Scratch& scratch, const SoftmaxState& state) const;
  SoftmaxState StartTotal(const QueryTile& tile, Scratch& scratch) const;
  void StoreTotal(const QueryTile& tile, const SoftmaxState& total, void* out) const;

  int Rows(const QueryTile& tile) const { return tile.tokens * group_; }
  size_t StateFloats(int rows) const { return size_t(rows) * (shape_.head_dim + 2); }
  SoftmaxState StateAt(float* memory, int rows) const;

  const Kernels& kernels_;
  const AttentionShape& shape_;
  const KvLayout& layout_;
  ThreadPool& pool_;
  const int group_;               // query heads of a kv head
  const int tile_tokens_;         // of a query tile, at most
  std::vector<Scratch> scratch_;  // [threads]
  std::vector<QueryTile> tiles_;
  std::vector<SplitSpan> splits_;
  std::vector<float> parts_;  // SoftmaxStates, one a split span
  double products_ = 0;       // multiplications of the planned call
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_BACKEND_CPU_ATTENTION_H_
