// Conversations with given queries, keys and values, and Attention over pieces of them.
#ifndef KVASIR_TESTS_ENGINE_BACKEND_CUDA_ATTENTION_TESTING_H_
#define KVASIR_TESTS_ENGINE_BACKEND_CUDA_ATTENTION_TESTING_H_

#include <cstdint>
#include <vector>

#include "engine/backend/cuda/attention_plan.h"
#include "engine/backend/cuda/kernels.h"
#include "tests/engine/backend/cuda/device_testing.h"

namespace kvasir::cuda {

struct Heads {
  int group = 1;     // G
  int kv_heads = 1;  // K
  int head_dim = 0;  // D

  int heads() const { return group * kv_heads; }
  int q_width() const { return heads() * head_dim; }
  int kv_width() const { return kv_heads * head_dim; }
};

struct Conversation {
  Conversation(const Heads& heads, int length, uint32_t seed)
      : Conversation(heads, length, seed, length, 0) {}
  // A long one that takes little room: the tokens before its last `tail` ones repeat the first
  // `period`, and so do the blocks of its table.
  // REQUIRES: period and length - tail are whole blocks.
  Conversation(const Heads& heads, int length, uint32_t seed, int period, int tail);

  int length;
  int period;
  int tail;
  std::vector<float> q;  // [rows(), H * D]
  std::vector<bf16> k;   // [rows(), K * D]
  std::vector<bf16> v;   // [rows(), K * D]

  int repeated() const { return length - tail; }
  int rows() const { return period + tail; }
  // Of q, k and v, that position p has.
  int Row(int p) const { return p < repeated() ? p % period : period + p - repeated(); }
  // Positions in [begin, end) that have the row.
  int TimesInRange(int row, int begin, int end) const;
};

// Rows [begin, end) of a conversation, the keys before them being in the cache.
struct Piece {
  const Conversation* conversation = nullptr;
  int begin = 0;
  int end = 0;
};

// How the work is cut and launched.
struct Launching {
  int wanted_blocks = 1;
  size_t partial_bytes = size_t{1} << 26;
  int blocks = 3;      // of the grid
  int first_span = 0;  // the keys of the spans before are left out
};

// What pieces() computed: rows in the pieces' order, as bits.  [T, H * D]
std::vector<uint16_t> Attend(const Heads& heads, const std::vector<Piece>& pieces,
                             const Launching& launching);

// A row's exact attention to the keys from first_key on, and how far Attention may be from it.
// [H * D] each
struct Expected {
  std::vector<double> out;
  std::vector<double> tolerance;
};
Expected Reference(const Heads& heads, const Conversation& conversation, int position,
                   int first_key = 0);

// Whether rows are within tolerance of the reference; NaN is not.
void ExpectNear(const Heads& heads, const std::vector<Piece>& pieces,
                const std::vector<uint16_t>& out, int first_span = 0);

}  // namespace kvasir::cuda

#endif  // KVASIR_TESTS_ENGINE_BACKEND_CUDA_ATTENTION_TESTING_H_
