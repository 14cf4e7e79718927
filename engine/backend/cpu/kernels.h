#ifndef KVASIR_ENGINE_BACKEND_CPU_KERNELS_H_
#define KVASIR_ENGINE_BACKEND_CPU_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "engine/tensor.h"

namespace kvasir {

// Columns of a packed panel, lanes of a vector.
inline constexpr int kPanelColumns = 16;
// Keys whose scores lie in scratch at a time, and keys of the unit by which a long context is cut
// among threads; both aligned to absolute position. Bits depend on them.
inline constexpr int kKeyTile = 128;
inline constexpr int kKeySpan = 512;
inline constexpr int kMaxHeadDim = 1024;

// out[m, n] = sum over k of x[m, k] * w[n, k].
struct MatmulArgs {
  const void* x = nullptr;  // [M, K] as tile_rows lays it out
  int rows = 0;             // M
  const void* w = nullptr;  // packed [N, K]
  int k = 0;
  float* out = nullptr;  // [M, N]
  int n = 0;
};

// Rows in the order in which Matmul reads them.
struct TileRowsArgs {
  const void* x = nullptr;  // [M, K] activation dtype
  int rows = 0;             // M
  int k = 0;
  void* out = nullptr;  // tiled_bytes
};

struct NormArgs {
  void* out = nullptr;        // [T, n] activation dtype
  float* residual = nullptr;  // [T, n]
  const float* x = nullptr;   // [T, n] or null
  const float* w = nullptr;   // [n]
  int n = 0;
  float eps = 0;
};

// NormRopeStore of backend.h.
struct RopeArgs {
  float* qkv = nullptr;  // [T, (H + 2K) * D]
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  const float* q_norm = nullptr;  // [D]
  const float* k_norm = nullptr;  // [D]
  float eps = 0;
  const float* cos = nullptr;  // [T, D / 2]
  const float* sin = nullptr;  // [T, D / 2]
  const int* slots = nullptr;  // [T]
  char* kv = nullptr;          // the layer's blocks, laid out as kv_layout.h says
  size_t block_bytes = 0;
  size_t head_bytes = 0;
  size_t key_bytes = 0;
};

// Running softmax of R rows: for each its greatest score so far, the sum of exp(score - max), and
// the sum of exp(score - max) * v.
struct SoftmaxState {
  float* max = nullptr;  // [R]
  float* sum = nullptr;  // [R]
  float* out = nullptr;  // [R, out_stride]
  size_t out_stride = 0;
};

// R query rows of one kv head's group against the keys [begin, end) of one sequence, a part of one
// span: begin is a multiple of kKeySpan and end - begin <= kKeySpan.
struct SpanArgs {
  const void* q = nullptr;  // [R, q_stride] activation dtype
  size_t q_stride = 0;      // elements
  int rows = 0;
  const int* visible = nullptr;  // [R] keys that the row sees: its position + 1
  const char* kv = nullptr;      // the layer's first block, this kv head
  size_t block_bytes = 0;
  size_t key_bytes = 0;
  const int* blocks = nullptr;  // the sequence's block table
  int begin = 0;
  int end = 0;
  int context = 0;  // keys stored; what lies behind is never used in arithmetic
  int head_dim = 0;
  float scale = 0;
  SoftmaxState state;       // overwritten
  float* scores = nullptr;  // scratch [R, kKeyTile]
  char* values = nullptr;   // scratch, the V of one block and head
};

// The kernels of one instruction set for one weight dtype. Each is a function of a row's inputs
// alone, bit for bit: any partition of rows and panels among threads and calls gives the same.
struct Kernels {
  const char* name = nullptr;
  DType weight = DType::kBf16;      // of packed weights, K and V
  DType activation = DType::kBf16;  // of Matmul's x: what the instructions multiply with
  // Matmul takes rows by tiles: a tile is never split between tasks.
  int (*count_row_tiles)(int rows);
  // Bytes that tile_rows writes; 0: Matmul takes such rows as they are.
  size_t (*tiled_bytes)(int rows, int k);
  void (*tile_rows)(const TileRowsArgs&, int line_begin, int line_end);
  void (*matmul)(const MatmulArgs&, int tile_begin, int tile_end, int panel_begin, int panel_end);
  void (*add_rms_norm)(const NormArgs&, int row_begin, int row_end);
  void (*norm_rope_store)(const RopeArgs&, int row_begin, int row_end);
  // out[r, i] = silu(gate_up[r, i]) * gate_up[r, n + i], i in [0, n)
  void (*silu_mul)(void* out, const float* gate_up, int n, int row_begin, int row_end);
  // out = x in activation dtype
  void (*convert)(void* out, const float* x, int n);
  void (*attention_span)(const SpanArgs&);
  // into = into followed by next. Starts from max -inf, sum and out 0.
  void (*fold_span)(const SoftmaxState& into, const SoftmaxState& next, int rows, int head_dim);
  // out[0, n) = o / sum in activation dtype
  void (*normalize)(void* out, const float* o, float sum, int n);
  void (*exp)(float* out, const float* x, int n);
};

// Null where this set does not multiply `weight`. Only to be called where the CPU has the set.
const Kernels* Avx2Kernels(DType weight);
const Kernels* Avx512Kernels(DType weight);
const Kernels* Avx512Bf16Kernels(DType weight);
const Kernels* AmxKernels(DType weight);

// Asks the system for the use of AMX's registers: for this process, once for all threads.
bool HasAmx();

}  // namespace kvasir

#endif  // KVASIR_ENGINE_BACKEND_CPU_KERNELS_H_
