#ifndef KVASIR_ENGINE_BATCH_H_
#define KVASIR_ENGINE_BATCH_H_

#include <cstddef>
#include <vector>

namespace kvasir {

// Tokens of one KV block. A backend's attention tile is a multiple of it.
inline constexpr int kBlockTokens = 16;

// One KV block, all layers, to be copied. Blocks of the pool and of the host's memory are numbered
// apart.
struct BlockCopy {
  enum class Way { kInPool, kToHost, kFromHost };
  int from = 0;
  int to = 0;
  Way way = Way::kInPool;
};

// One step of the model over S sequences and T tokens, ragged: chunks of prompts and single
// decode tokens mix freely. Sequence s owns the rows query_start[s] .. query_start[s + 1).
struct Batch {
  std::vector<int> tokens;          // [T] ids
  std::vector<int> positions;       // [T] absolute position in its sequence
  std::vector<int> slots;           // [T] where K and V go: block * kBlockTokens + offset
  std::vector<int> query_start;     // [S + 1] ascending, 0 .. T
  std::vector<int> context_length;  // [S] keys that the sequence's last row sees, itself included
  std::vector<int> block_table;     // [S, max_blocks] unused entries -1
  std::vector<int> logit_rows;      // [R] rows whose logits are wanted, ascending
  int max_blocks = 0;

  int num_tokens() const { return static_cast<int>(tokens.size()); }
  int num_sequences() const { return static_cast<int>(context_length.size()); }
  int num_logits() const { return static_cast<int>(logit_rows.size()); }

  // Memory for the largest step, so that no step asks the heap: rows, sequences, and entries
  // of the block table. It is touched only as far as it is used.
  void Reserve(size_t max_tokens, size_t max_sequences, size_t max_table) {
    for (std::vector<int>* v : {&tokens, &positions, &slots, &logit_rows}) v->reserve(max_tokens);
    query_start.reserve(max_sequences + 1);
    context_length.reserve(max_sequences);
    block_table.reserve(max_table);
  }

  void Clear() {
    for (std::vector<int>* v :
         {&tokens, &positions, &slots, &query_start, &context_length, &block_table, &logit_rows}) {
      v->clear();
    }
    query_start.push_back(0);
    max_blocks = 0;
  }
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_BATCH_H_
