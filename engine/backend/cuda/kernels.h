// What the GPU computes: one function a kernel, which enqueues it on a stream. Pointers are device
// memory unless named host. Shapes in the letters of backend.h: T tokens, S sequences, R rows with
// logits, H query heads, K kv heads, D head_dim, G = H / K.
//
// None allocates, none waits; what is returned is the launch's own error. All are functions of a
// row's inputs and position alone, bit for bit (invariant I1): no float atomics, no choice by
// timing, sums in an order that neither T nor the grid changes.
#ifndef KVASIR_ENGINE_BACKEND_CUDA_KERNELS_H_
#define KVASIR_ENGINE_BACKEND_CUDA_KERNELS_H_

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace kvasir::cuda {

using bf16 = __nv_bfloat16;

// The first error, or success.
template <class... Errors>
cudaError_t FirstError(Errors... errors) {
  cudaError_t first = cudaSuccess;
  ((first = first == cudaSuccess ? errors : first), ...);
  return first;
}

// For the current device, before anything else: brings all code there. An error where this build
// has none for it.
cudaError_t LoadRowwiseKernels();
cudaError_t LoadMatmulKernels();
cudaError_t LoadAttentionKernels();
cudaError_t LoadSampleKernels();

// --- rows (rowwise.cu) ------------------------------------------------------------------------

// x[t] = table[tokens[t]]; a negative token -1 - r stands for what row r of the step before drew,
// sampled[r].  x: [T, n] f32; table: [V, n].  REQUIRES: n % 8 == 0.
cudaError_t Embed(float* x, const bf16* table, const int* tokens, const int* sampled, int rows,
                  int n, cudaStream_t stream);

// residual += x (unless null); out = residual / sqrt(mean(residual^2) + eps) * w
// (Zhang & Sennrich 2019).  out: [T, n]; residual, x: [T, n]; w: [n].  REQUIRES: n % 8 == 0.
cudaError_t AddRmsNorm(bf16* out, float* residual, const float* x, const float* w, int rows, int n,
                       float eps, cudaStream_t stream);

// cos and sin of the positions' angles, in double from two tables and rounded once, as RopeTable
// does it: coarse [positions / kRopeFine, half] and fine [kRopeFine, half] hold (cos, sin).
// cos, sin: [T, half]
inline constexpr int kRopeFine = 256;
cudaError_t RopeAngles(float* cos, float* sin, const int* positions, const double2* coarse,
                       const double2* fine, int rows, int half, cudaStream_t stream);

// Where one layer's K and V lie: [blocks][K][2: K, V][kBlockTokens][D], the other layers' of a
// block between those of two blocks.
struct KvView {
  bf16* data = nullptr;
  int kv_heads = 0;      // K
  int head_dim = 0;      // D
  int block_stride = 0;  // values from one block to the next
};

// Per head of q and k: RMSNorm over D with its weights, rotation at the row's position (Su et al.
// 2021; pairs i, i + D / 2); q goes back in place, k and v to their slots, rounded to bf16.
struct RopeArgs {
  float* qkv = nullptr;           // [T, (H + 2K) * D]
  const float* q_norm = nullptr;  // [D]
  const float* k_norm = nullptr;  // [D]
  const float* cos = nullptr;     // [T, D / 2]
  const float* sin = nullptr;     // [T, D / 2]
  const int* slots = nullptr;     // [T] block * kBlockTokens + offset; negative: a row to pass by
  KvView kv;
  int rows = 0;   // T
  int heads = 0;  // H
  float eps = 0;
};
cudaError_t NormRopeStore(const RopeArgs& args, cudaStream_t stream);

// out = silu(gate) * up.  out: [T, F]; gate_up: [T, 2F], gate and up by turns of 8 columns, as
// their weights are packed.  REQUIRES: F % 8 == 0.
cudaError_t SiluMul(bf16* out, const float* gate_up, int rows, int ffn, cudaStream_t stream);
cudaError_t SiluMul(bf16* out, const bf16* gate_up, int rows, int ffn, cudaStream_t stream);

// out[r] = x[rows[r]].  out: [R, n]; x: [T, n].  REQUIRES: n % 8 == 0.
cudaError_t GatherRows(bf16* out, const bf16* x, const int* rows, int count, int n,
                       cudaStream_t stream);

// --- matrix product (matmul.cu) ----------------------------------------------------------------

// out = x w^T. An output is the sum, in order, of kMatmulSplits chains of tensor-core products to
// which the 32-wide blocks of K go by turns, whatever M, N and the rows beside it are.
inline constexpr int kMatmulSplits = 8;
struct MatmulArgs {
  const bf16* x = nullptr;  // [M, K]
  const bf16* w = nullptr;  // [N, K]
  int m = 0;
  int n = 0;
  int k = 0;  // REQUIRES: k % 8 == 0
  // One of these:
  float* out = nullptr;     // [M, N]
  bf16* gated = nullptr;    // [M, N / 2]: SiluMul of what out would be.  REQUIRES: n % 16 == 0
  bf16* rounded = nullptr;  // [M, N]: what out would be; by cuBLASLt alone
  bool add = false;         // out += x w^T
};
// REQUIRES: args.rounded is null.
cudaError_t Matmul(const MatmulArgs& args, cudaStream_t stream);

// --- attention (attention.cu) --------------------------------------------------------------------

inline constexpr int kKeyTile = 64;    // keys that meet a row's query at a time
inline constexpr int kSpanKeys = 512;  // keys of the unit by which a context is cut among blocks
inline constexpr int kTileRows = 16;   // query rows (token, head of the group) of a product
// What a row's state has beside D outputs: largest score, sum of weights, padding to 16 bytes.
inline constexpr int kStateExtra = 4;

// Rows of one sequence that meet the same keys: `tokens` tokens times the G heads of a kv head.
struct AttentionTile {
  int sequence = 0;
  int table = 0;        // where its blocks begin in AttentionArgs::block_table
  int first_token = 0;  // row of the batch
  int tokens = 0;
  int first_span = 0;
  int spans = 0;
  // Where the spans of the same rows are spread over several tiles: the first state of theirs in
  // AttentionArgs::partial (then those of part 1, ...), their number, and the counter that tells
  // the last one to come, which folds all of them in order. parts == 0: this tile has all spans.
  int first_state = 0;
  int part = 0;  // this tile's own, of parts: its one span
  int parts = 0;
  int ticket = 0;
};

// Causal grouped-query attention over the paged cache (Ainslie et al. 2023; Dao 2023).
struct AttentionArgs {
  bf16* out = nullptr;         // [T, H * D]
  const float* qkv = nullptr;  // [T, (H + 2K) * D], q as NormRopeStore left it
  KvView kv;
  const int* positions = nullptr;    // [T]: row t sees the keys [0, positions[t]]
  const int* block_table = nullptr;  // the sequences' blocks, where their tiles say
  int heads = 0;                     // H
  const AttentionTile* tiles = nullptr;
  const int* count = nullptr;   // of tiles: device memory, so that a graph can be launched again
  float* partial = nullptr;     // states of parts' rows: [states][K][D + kStateExtra]
  unsigned* tickets = nullptr;  // [tickets][K], zero before and after
};
// Tiles of at most kTileRows rows (`few`), or 4 kTileRows.  `blocks`: of the grid, times K.
// REQUIRES: G <= kTileRows. cudaErrorInvalidValue where D is not 16, 32, 64 or 128.
cudaError_t Attention(const AttentionArgs& args, bool few, int blocks, cudaStream_t stream);
// Of that kernel's blocks, how many a multiprocessor of the current device holds at once.
cudaError_t AttentionBlocksAtOnce(int head_dim, bool few, int* blocks);

// --- sampling (sample.cu)
// -------------------------------------------------------------------------

// One row's wishes; the chain is that of engine/sampler.h.
struct SampleRow {
  int logits_row = 0;     // negative: a row to pass by
  int target = -1;        // >= 0: nothing is drawn, the log-probability of this id is wanted
  int top_logprobs = -1;  // alternatives; -1: no log-probability is needed
  float temperature = 1;
  int top_k = 0;  // <= 0: off
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
  float frequency_penalty = 0;
  float presence_penalty = 0;
  uint64_t seed = 0;
  uint64_t position = 0;
  int bias_begin = 0, bias_end = 0;        // in SampleArgs::bias
  int history_begin = 0, history_end = 0;  // in SampleArgs::history; empty without penalties
};
struct Bias {
  int id = 0;
  float value = 0;
};
inline constexpr int kMaxAlternatives = 20;
struct SampleResult {
  int id = -1;  // -1: no logit is finite
  float logprob = 0;
  int alternatives = 0;
  int alternative_id[kMaxAlternatives] = {};
  float alternative_logprob[kMaxAlternatives] = {};
};
inline constexpr int kMaxVocab = 1 << 18;
struct SampleArgs {
  float* logits = nullptr;          // [R, V], overwritten
  int vocab = 0;                    // V, at most 2^18
  const SampleRow* rows = nullptr;  // [count]
  int count = 0;
  const Bias* bias = nullptr;
  const int* history = nullptr;
  int* counts = nullptr;            // [count, V] scratch, zero before and after
  SampleResult* results = nullptr;  // [count]
  int* sampled = nullptr;           // [count] the ids alone, for the next step's Embed; 0 for -1
};
cudaError_t Sample(const SampleArgs& args, cudaStream_t stream);

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_KERNELS_H_
