#include "engine/backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/backend/cpu/attention.h"
#include "engine/backend/cpu/host_memory.h"
#include "engine/backend/cpu/kernel_choice.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/kv_layout.h"
#include "engine/backend/cpu/packed_weight.h"
#include "engine/backend/cpu/thread_pool.h"
#include "engine/backend/rope_table.h"
#include "engine/check.h"
#include "engine/sampler.h"

namespace kvasir {
namespace {

// Changes with any change of the arithmetic that a bit can show.
constexpr char kArithmeticVersion[] = "1";

// Work below these runs on the calling thread: a second one costs about two microseconds.
constexpr double kSerialProducts = 400e3;  // multiplications of a Matmul
constexpr double kSerialElements = 16e3;   // elements of a row-wise verb

// Panels of a Matmul task: a multiple of what any tile takes at once.
constexpr int kTaskPanels = 8;
// Tiles of rows of a Matmul task, where panels alone do not feed all threads.
constexpr int kTaskTiles = 8;

class CpuBackend : public Backend {
 public:
  CpuBackend(const CpuBackendOptions& options, const Kernels& kernels)
      : shape_(options.attention),
        kernels_(kernels),
        layout_{shape_.kv_heads, shape_.head_dim, kernels.weight},
        touch_kv_(options.touch_kv),
        pool_(options.threads > 0 ? options.threads : AvailableCpus()),
        rope_(shape_.rope_theta, shape_.head_dim),
        attention_(kernels_, shape_, layout_, pool_),
        samplers_(pool_.threads()) {}

  std::string device() const override { return "cpu"; }
  std::string numerics() const override {
    return std::string("cpu-") + kernels_.name + "-" + NameOf(kernels_.weight) + "-" +
           kArithmeticVersion;
  }
  DType activation_dtype() const override { return kernels_.activation; }

  std::unique_ptr<Buffer> Allocate(size_t bytes) override;
  PackedWeight Pack(std::span<const HostMatrix> parts) override;
  std::unique_ptr<Buffer> UploadVector(const HostMatrix& vector) override;
  int64_t DefaultKvMemory() const override { return ReadHostMemory().available / 2; }
  absl::Status AllocateKv(int layers, int num_blocks) override;
  KvLayer Kv(int layer) override;
  size_t KvBlockBytes(int layers) const override { return layers * layout_.block_bytes(); }
  const DeviceBatch& Stage(const Batch& batch) override;

  void Embed(Tensor x, const PackedWeight& table, const DeviceBatch& batch) override;
  void AddRmsNorm(Tensor out, Tensor residual, Tensor x, Tensor w, float eps) override;
  void Matmul(Tensor out, Tensor x, const PackedWeight& w) override;
  void NormRopeStore(Tensor qkv, Tensor q_norm, Tensor k_norm, KvLayer kv,
                     const DeviceBatch& batch) override;
  void Attention(Tensor out, Tensor qkv, KvLayer kv, const DeviceBatch& batch) override;
  void SiluMul(Tensor out, Tensor gate_up) override;
  void GatherRows(Tensor out, Tensor x, const DeviceBatch& batch) override;

  void Sample(Tensor logits, std::span<const SamplingRow> rows) override;
  std::span<const SampledToken> Collect() override { return {sampled_.data(), num_sampled_}; }
  void CopyBlocks(std::span<const BlockCopy> copies) override;
  void Read(void* to, const void* device_memory, size_t bytes) override {
    std::memcpy(to, device_memory, bytes);
  }
  void Write(void* device_memory, const void* from, size_t bytes) override {
    std::memcpy(device_memory, from, bytes);
  }

 private:
  // body(begin, end) over a partition of `rows` rows of `elements` elements each.
  template <typename Body>
  void ForRows(int rows, size_t elements, const Body& body);
  // The rows as the kernels' matmul takes them.
  const void* TileRows(Tensor x, const PackedWeight& w);

  const AttentionShape shape_;
  const Kernels& kernels_;
  const KvLayout layout_;
  const bool touch_kv_;
  ThreadPool pool_;
  RopeTable rope_;
  PagedAttention attention_;
  Batch staged_;
  DeviceBatch device_batch_;
  std::vector<float> cos_, sin_;     // [T, D / 2] of the staged batch
  std::unique_ptr<Buffer> tiled_x_;  // grows with the largest step
  std::unique_ptr<Buffer> kv_;       // [layers, num_blocks, layout_.block_bytes()]
  int kv_layers_ = 0;
  int kv_blocks_ = 0;
  std::vector<SamplerScratch> samplers_;  // [threads]
  std::vector<SampledToken> sampled_;     // keeps its capacity, and its elements theirs
  size_t num_sampled_ = 0;
};

std::unique_ptr<Buffer> CpuBackend::Allocate(size_t bytes) {
  std::unique_ptr<Buffer> buffer = MapHostMemory(bytes);
  KVASIR_CHECK(buffer != nullptr);
  return buffer;
}

PackedWeight CpuBackend::Pack(std::span<const HostMatrix> parts) {
  PackedWeight packed = PackWeight(parts, kernels_.weight, pool_);
  KVASIR_CHECK(packed.data != nullptr);
  return packed;
}

std::unique_ptr<Buffer> CpuBackend::UploadVector(const HostMatrix& vector) {
  const size_t count = size_t(vector.rows) * vector.cols;
  std::unique_ptr<Buffer> buffer = Allocate(count * sizeof(float));
  ConvertToFloat(vector.data, vector.dtype, count, static_cast<float*>(buffer->data()));
  return buffer;
}

absl::Status CpuBackend::AllocateKv(int layers, int num_blocks) {
  KVASIR_CHECK(kv_ == nullptr && layers > 0 && num_blocks > 0);
  const size_t bytes = size_t(layers) * num_blocks * layout_.block_bytes();
  if (const int64_t total = ReadHostMemory().total; bytes > static_cast<uint64_t>(total)) {
    return absl::ResourceExhaustedError("a KV pool of " + std::to_string(bytes) +
                                        " bytes (--kv-memory) exceeds this host's " +
                                        std::to_string(total) + " bytes of memory");
  }
  kv_ = MapHostMemory(bytes);
  if (kv_ == nullptr) {
    return absl::ResourceExhaustedError("no address space for a KV pool of " +
                                        std::to_string(bytes) + " bytes");
  }
  if (touch_kv_) Touch(*kv_);
  kv_layers_ = layers;
  kv_blocks_ = num_blocks;
  return absl::OkStatus();
}

KvLayer CpuBackend::Kv(int layer) {
  KVASIR_CHECK(layer >= 0 && layer < kv_layers_);
  const size_t layer_bytes = size_t(kv_blocks_) * layout_.block_bytes();
  return {static_cast<char*>(kv_->data()) + layer * layer_bytes, kv_blocks_, layout_.block_bytes()};
}

const DeviceBatch& CpuBackend::Stage(const Batch& batch) {
  staged_.Reserve(batch.tokens.capacity(), batch.context_length.capacity(),
                  batch.block_table.capacity());
  staged_ = batch;
  device_batch_ = {staged_.tokens.data(),
                   staged_.positions.data(),
                   staged_.slots.data(),
                   staged_.query_start.data(),
                   staged_.context_length.data(),
                   staged_.block_table.data(),
                   staged_.logit_rows.data(),
                   staged_.num_tokens(),
                   staged_.num_sequences(),
                   staged_.num_logits(),
                   staged_.max_blocks};
  const size_t angles = size_t(staged_.num_tokens()) * (shape_.head_dim / 2);
  cos_.resize(angles);
  sin_.resize(angles);
  rope_.Fill(staged_.positions.data(), staged_.num_tokens(), cos_.data(), sin_.data());
  return device_batch_;
}

template <typename Body>
void CpuBackend::ForRows(int rows, size_t elements, const Body& body) {
  const bool parallel = double(rows) * double(elements) >= kSerialElements;
  const int tasks = parallel ? std::min(rows, 4 * pool_.threads()) : 1;
  pool_.ParallelFor(tasks, [&](int task, int) {
    body(int(int64_t(rows) * task / tasks), int(int64_t(rows) * (task + 1) / tasks));
  });
}

void CpuBackend::Embed(Tensor x, const PackedWeight& table, const DeviceBatch& batch) {
  KVASIR_CHECK(x.rows == batch.num_tokens && x.cols == table.cols && x.dtype == DType::kF32);
  ForRows(x.rows, x.cols, [&](int begin, int end) {
    for (int t = begin; t < end; ++t) {
      KVASIR_CHECK(batch.tokens[t] >= 0 && batch.tokens[t] < table.rows);
      UnpackRow(table, batch.tokens[t], x.as<float>() + size_t(t) * x.cols);
    }
  });
}

void CpuBackend::AddRmsNorm(Tensor out, Tensor residual, Tensor x, Tensor w, float eps) {
  KVASIR_CHECK(out.dtype == kernels_.activation && out.cols == residual.cols &&
               w.cols == residual.cols && residual.dtype == DType::kF32);
  const NormArgs args = {out.data,      residual.as<float>(), x.as<float>(),
                         w.as<float>(), residual.cols,        eps};
  ForRows(residual.rows, residual.cols,
          [&](int begin, int end) { kernels_.add_rms_norm(args, begin, end); });
}

const void* CpuBackend::TileRows(Tensor x, const PackedWeight& w) {
  const int lines = PanelLines(w.cols, w.dtype);
  const size_t bytes = kernels_.tiled_bytes(x.rows, x.cols);
  if (bytes == 0) return x.data;
  if (tiled_x_ == nullptr || tiled_x_->bytes() < bytes) tiled_x_ = Allocate(bytes);
  const TileRowsArgs args = {x.data, x.rows, x.cols, tiled_x_->data()};
  const bool parallel = double(x.rows) * x.cols >= kSerialElements;
  const int tasks = parallel ? 2 * pool_.threads() : 1;
  pool_.For(parallel, tasks, [&](int task, int) {
    kernels_.tile_rows(args, int(int64_t(lines) * task / tasks),
                       int(int64_t(lines) * (task + 1) / tasks));
  });
  return tiled_x_->data();
}

void CpuBackend::Matmul(Tensor out, Tensor x, const PackedWeight& w) {
  KVASIR_CHECK(x.dtype == kernels_.activation && out.dtype == DType::kF32 &&
               w.dtype == kernels_.weight && x.cols == w.cols && out.cols == w.rows &&
               out.rows == x.rows);
  const MatmulArgs args = {TileRows(x, w), x.rows, w.data->data(), w.cols, out.as<float>(), w.rows};
  const int tiles = kernels_.count_row_tiles(x.rows);
  const int panels = PanelCount(w.rows);
  if (double(x.rows) * w.rows * w.cols < kSerialProducts) {
    kernels_.matmul(args, 0, tiles, 0, panels);
    return;
  }
  // Enough tasks that threads of unequal speed end together, large enough to amortise a start.
  const int wanted = 8 * pool_.threads();
  const int per_task = (panels / wanted + kTaskPanels - 1) / kTaskPanels * kTaskPanels;
  const int task_panels = std::max(kTaskPanels, per_task);
  const int columns = (panels + task_panels - 1) / task_panels;
  const int strips = columns >= 2 * pool_.threads() ? 1 : (tiles + kTaskTiles - 1) / kTaskTiles;
  pool_.ParallelFor(columns * strips, [&](int task, int) {
    const int panel = task / strips * task_panels;
    const int strip = task % strips;
    kernels_.matmul(args, int(int64_t(tiles) * strip / strips),
                    int(int64_t(tiles) * (strip + 1) / strips), panel,
                    std::min(panels, panel + task_panels));
  });
}

void CpuBackend::NormRopeStore(Tensor qkv, Tensor q_norm, Tensor k_norm, KvLayer kv,
                               const DeviceBatch& batch) {
  KVASIR_CHECK(qkv.rows == batch.num_tokens && qkv.dtype == DType::kF32 &&
               qkv.cols == (shape_.heads + 2 * shape_.kv_heads) * shape_.head_dim);
  RopeArgs args;
  args.qkv = qkv.as<float>();
  args.heads = shape_.heads;
  args.kv_heads = shape_.kv_heads;
  args.head_dim = shape_.head_dim;
  args.q_norm = q_norm.as<float>();
  args.k_norm = k_norm.as<float>();
  args.eps = shape_.norm_eps;
  args.cos = cos_.data();
  args.sin = sin_.data();
  args.slots = batch.slots;
  args.kv = static_cast<char*>(kv.data);
  args.block_bytes = layout_.block_bytes();
  args.head_bytes = layout_.head_bytes();
  args.key_bytes = layout_.key_bytes();
  ForRows(qkv.rows, qkv.cols,
          [&](int begin, int end) { kernels_.norm_rope_store(args, begin, end); });
}

void CpuBackend::Attention(Tensor out, Tensor qkv, KvLayer kv, const DeviceBatch& batch) {
  KVASIR_CHECK(out.dtype == kernels_.activation && out.rows == batch.num_tokens &&
               out.cols == shape_.heads * shape_.head_dim);
  attention_.Run(out.data, qkv.as<float>(), static_cast<const char*>(kv.data), batch);
}

void CpuBackend::SiluMul(Tensor out, Tensor gate_up) {
  KVASIR_CHECK(out.dtype == kernels_.activation && gate_up.cols == 2 * out.cols &&
               gate_up.rows == out.rows);
  ForRows(out.rows, 4 * size_t(out.cols), [&](int begin, int end) {
    kernels_.silu_mul(out.data, gate_up.as<float>(), out.cols, begin, end);
  });
}

void CpuBackend::GatherRows(Tensor out, Tensor x, const DeviceBatch& batch) {
  KVASIR_CHECK(out.rows == batch.num_logits && out.cols == x.cols && out.dtype == x.dtype);
  const size_t row_bytes = out.cols * SizeOf(out.dtype);
  for (int r = 0; r < out.rows; ++r) {
    std::memcpy(out.as<char>() + r * row_bytes, x.as<char>() + batch.logit_rows[r] * row_bytes,
                row_bytes);
  }
}

void CpuBackend::Sample(Tensor logits, std::span<const SamplingRow> rows) {
  num_sampled_ = rows.size();
  if (sampled_.size() < num_sampled_) sampled_.resize(num_sampled_);
  const bool parallel = double(num_sampled_) * logits.cols >= kSerialElements;
  pool_.For(parallel, static_cast<int>(num_sampled_), [&](int i, int worker) {
    const SamplingRow& row = rows[i];
    KVASIR_CHECK(row.logits_row >= 0 && row.logits_row < logits.rows);
    float* first = logits.as<float>() + size_t(row.logits_row) * logits.cols;
    SampleRow({first, size_t(logits.cols)}, row, samplers_[worker], sampled_[i]);
  });
}

void CpuBackend::CopyBlocks(std::span<const BlockCopy> copies) {
  const size_t bytes = layout_.block_bytes();
  for (const auto& [from, to, way] : copies) {
    KVASIR_CHECK(way == BlockCopy::Way::kInPool);
    KVASIR_CHECK(from >= 0 && from < kv_blocks_ && to >= 0 && to < kv_blocks_ && from != to);
  }
  const bool parallel = double(copies.size()) * kv_layers_ * bytes >= 16 * kSerialElements;
  pool_.For(parallel, kv_layers_, [&](int layer, int) {
    char* base = static_cast<char*>(Kv(layer).data);
    for (const auto& [from, to, way] : copies) {
      std::memcpy(base + to * bytes, base + from * bytes, bytes);
    }
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(const CpuBackendOptions& options) {
  const AttentionShape& shape = options.attention;
  KVASIR_CHECK(shape.kv_heads > 0 && shape.heads > 0 && shape.heads % shape.kv_heads == 0);
  KVASIR_CHECK(shape.head_dim > 0 && shape.head_dim % 2 == 0 && shape.rope_theta > 0);
  if (shape.head_dim > kMaxHeadDim) {
    return absl::InvalidArgumentError("head_dim " + std::to_string(shape.head_dim) +
                                      " exceeds the CPU backend's limit " +
                                      std::to_string(kMaxHeadDim));
  }
  absl::StatusOr<const Kernels*> kernels = ChooseKernels(options.kernel, options.dtype);
  if (!kernels.ok()) return kernels.status();
  return std::make_unique<CpuBackend>(options, **kernels);
}

}  // namespace kvasir
