#ifndef KVASIR_ENGINE_BACKEND_BACKEND_H_
#define KVASIR_ENGINE_BACKEND_BACKEND_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "engine/batch.h"
#include "engine/sampling.h"
#include "engine/tensor.h"

namespace kvasir {

// What a backend must know of the model to do attention. Qwen3's letters: H query heads, K kv
// heads, D head_dim.
struct AttentionShape {
  int heads = 0;     // H, a multiple of kv_heads
  int kv_heads = 0;  // K
  int head_dim = 0;  // D, even
  double rope_theta = 0;
  float norm_eps = 0;
};

// Device memory. Its owner frees it; the bytes are zero at first and 64-byte aligned.
class Buffer {
 public:
  virtual ~Buffer() = default;
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 protected:
  Buffer(void* data, size_t bytes) : data_(data), bytes_(bytes) {}
  void* data_;
  size_t bytes_;
};

// A matrix W [rows = N, cols = K] of a checkpoint in host memory, row-major.
struct HostMatrix {
  const void* data = nullptr;
  DType dtype = DType::kBf16;
  int rows = 0;
  int cols = 0;
};

// A weight matrix in the layout that its backend multiplies with; opaque to everyone else.
struct PackedWeight {
  std::unique_ptr<Buffer> data;
  DType dtype = DType::kBf16;
  int rows = 0;  // N, output features
  int cols = 0;  // K, input features
};

// The K and V blocks of one layer; the layout inside a block is the backend's own.
struct KvLayer {
  void* data = nullptr;
  int num_blocks = 0;
  size_t block_stride = 0;  // bytes from one block to the next
};

// A Batch as the backend sees it. Valid until the next Stage.
struct DeviceBatch {
  const int* tokens = nullptr;
  const int* positions = nullptr;
  const int* slots = nullptr;
  const int* query_start = nullptr;
  const int* context_length = nullptr;
  const int* block_table = nullptr;
  const int* logit_rows = nullptr;
  int num_tokens = 0;
  int num_sequences = 0;
  int num_logits = 0;
  int max_blocks = 0;
};

// Bytes on the device.
struct MemoryPlan {
  std::vector<size_t> weights;    // of each buffer that Pack and UploadVector will return
  std::vector<size_t> workspace;  // of each that Allocate will: activations of the largest step
  int64_t kv = 0;                 // the pool, at least
};

// What to do with one row of logits.
struct SamplingRow {
  int logits_row = 0;
  const SamplingParams* params = nullptr;
  // The sequence's tokens before the drawn one; read only where params has penalties.
  std::span<const int> history;
  // The drawn token's absolute position: with params->seed the whole source of randomness.
  uint64_t position = 0;
  // Alternatives wanted with log-probabilities; -1: no log-probability is needed.
  int top_logprobs = -1;
  // >= 0: nothing is drawn; the log-probability of this id is wanted.
  int target = -1;
};

struct TokenAlternative {
  int id = 0;
  float logprob = 0;
};

struct SampledToken {
  int id = 0;
  // Of the raw model distribution, natural logarithm; 0 where not asked for.
  float logprob = 0;
  std::vector<TokenAlternative> alternatives;  // most probable first
};

// The seam between the one forward pass and the hardware: fused, batch-level verbs. Activations
// are `activation_dtype()`, the residual stream and the outputs of Matmul are f32.
//
// Every verb computes a row as a function of that row's inputs and its absolute position alone, bit
// for bit, whatever else is in the batch and whatever the number of threads (invariant I1).
class Backend {
 public:
  virtual ~Backend() = default;

  // "cpu", or the GPU's name.
  virtual std::string device() const = 0;
  // Names everything that bits depend on besides weights: kernel set, dtype, version of the
  // arithmetic.
  virtual std::string numerics() const = 0;
  // kBf16 or kF32: what Matmul multiplies with, f32 also where bf16 weights are widened.
  virtual DType activation_dtype() const = 0;

  // The thread that calls it makes all calls from then on. At first that is the one that created
  // the backend.
  virtual void UseThisThread() {}

  // --- memory -------------------------------------------------------------------------------
  // Null where the device has not got so much.
  virtual std::unique_ptr<Buffer> Allocate(size_t bytes) = 0;
  // The parts stacked along N (q, k, v into one), rounded to the backend's dtype; data is null as
  // Allocate's is.  REQUIRES: parts not empty, equal cols.
  virtual PackedWeight Pack(std::span<const HostMatrix> parts) = 0;
  // For MatmulSiluMul alone.  REQUIRES: equal shapes.
  virtual PackedWeight PackGateUp(const HostMatrix& gate, const HostMatrix& up) {
    const HostMatrix parts[] = {gate, up};
    return Pack(parts);
  }
  // A norm's weights as f32: 1 x n; or null, as Allocate.
  virtual std::unique_ptr<Buffer> UploadVector(const HostMatrix& vector) = 0;
  // What the device will have to hold: asked before anything is allocated. RESOURCE_EXHAUSTED where
  // it cannot.
  virtual absl::Status Plan(const MemoryPlan& /*plan*/) { return absl::OkStatus(); }
  // Bytes that the KV pool takes where nobody says how many, once the weights are there.
  virtual int64_t DefaultKvMemory() const = 0;
  // Blocks for `layers` layers. Called once. Pages are touched only when used. RESOURCE_EXHAUSTED
  // where the device's memory is smaller.
  virtual absl::Status AllocateKv(int layers, int num_blocks) = 0;
  // Blocks in the host's memory beside the pool, in place of those that it gave before; 0: none.
  // REQUIRES: AllocateKv has succeeded. UNIMPLEMENTED where the pool is in the host's memory
  // itself.
  virtual absl::Status AllocateHostKv(int num_blocks) {
    return num_blocks == 0 ? absl::OkStatus()
                           : absl::UnimplementedError("the KV pool is in the host's memory itself");
  }
  virtual KvLayer Kv(int layer) = 0;
  // Bytes of one block over all of `layers` layers.
  virtual size_t KvBlockBytes(int layers) const = 0;
  // The batch may change or die once this returns.
  virtual const DeviceBatch& Stage(const Batch& batch) = 0;

  // Runs one step: `forward` calls the verbs on the batch as the device sees it, and must be a
  // function of its counts alone. A backend may record what it calls and repeat that for a batch of
  // the same counts, and may have added rows that come to nothing.
  using Forward = absl::FunctionRef<void(const DeviceBatch&)>;
  virtual void Run(const Batch& batch, Forward forward) { forward(Stage(batch)); }
  // Called once, when all memory is there: the time to record. RESOURCE_EXHAUSTED where the device
  // has no memory for that.
  virtual absl::Status Prepare(Forward /*forward*/) { return absl::OkStatus(); }

  // --- one layer's verbs, in the order of the forward pass --------------------------------------
  // x[t] = table[tokens[t]].  x: [T, hidden] f32
  virtual void Embed(Tensor x, const PackedWeight& table, const DeviceBatch& batch) = 0;
  // residual += x (where x.data is not null); out = residual / rms(residual) * w, with
  // rms = sqrt(mean(residual^2) + eps) in f32 (Zhang & Sennrich 2019).
  // out: [T, n] activation dtype; residual, x: [T, n] f32; w: [1, n] f32
  virtual void AddRmsNorm(Tensor out, Tensor residual, Tensor x, Tensor w, float eps) = 0;
  // out = x w^T.  out: [T, N] f32; x: [T, K] activation dtype
  virtual void Matmul(Tensor out, Tensor x, const PackedWeight& w) = 0;
  // residual += x w^T: at once, or by way of delta. Returns what the next AddRmsNorm has to add:
  // nothing, or delta.  residual, delta: [T, N] f32, delta scratch; x: [T, K] activation dtype
  virtual Tensor MatmulAdd(Tensor /*residual*/, Tensor delta, Tensor x, const PackedWeight& w) {
    Matmul(delta, x, w);
    return delta;
  }
  // Per head of q and k: RMSNorm over D with its weights, then rotary embedding at the row's
  // position (Su et al. 2021; pairs i, i + D/2); q is written back, k and v go to their slots.
  // qkv: [T, (H + 2K) * D] f32; q_norm, k_norm: [1, D] f32
  virtual void NormRopeStore(Tensor qkv, Tensor q_norm, Tensor k_norm, KvLayer kv,
                             const DeviceBatch& batch) = 0;
  // Causal grouped-query attention with scale 1/sqrt(D) over the paged cache.
  // out: [T, H * D] activation dtype; qkv: as NormRopeStore left it
  virtual void Attention(Tensor out, Tensor qkv, KvLayer kv, const DeviceBatch& batch) = 0;
  // out = silu(gate) * up.  out: [T, F] activation dtype; gate_up: [T, 2F] f32, gate first
  virtual void SiluMul(Tensor out, Tensor gate_up) = 0;
  // SiluMul of x w^T, with w from PackGateUp.  out: [T, F]; gate_up: [T, 2F] f32, scratch.
  virtual void MatmulSiluMul(Tensor out, Tensor gate_up, Tensor x, const PackedWeight& w) {
    Matmul(gate_up, x, w);
    SiluMul(out, gate_up);
  }
  // out[r] = x[logit_rows[r]].  out: [R, n], x: [T, n], same dtype
  virtual void GatherRows(Tensor out, Tensor x, const DeviceBatch& batch) = 0;

  // --- the end of a step --------------------------------------------------------------------
  // Enqueues; the results come from Collect, in the rows' order. logits: [R, V] f32, overwritten;
  // of each row at most one SamplingRow. What the rows point to must live until Collect has
  // returned, or until CanRunAhead says so.
  virtual void Sample(Tensor logits, std::span<const SamplingRow> rows) = 0;
  // Asked after Sample: whether one step more may be enqueued before Collect. Its batch then knows
  // what row r of that Sample drew as token -1 - r.
  virtual bool CanRunAhead() const { return false; }
  // Waits for the oldest Sample whose results have not been collected. Valid until the next
  // Collect.
  virtual std::span<const SampledToken> Collect() = 0;

  // Enqueues; a copy sees what those before it have done.
  virtual void CopyBlocks(std::span<const BlockCopy> copies) = 0;

  // Copies from and to the device's memory, once all that was called before has been done.
  virtual void Read(void* to, const void* device_memory, size_t bytes) = 0;
  virtual void Write(void* device_memory, const void* from, size_t bytes) = 0;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_BACKEND_BACKEND_H_
