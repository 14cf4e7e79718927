#include "engine/backend/cuda/cuda_backend.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/backend/cuda/decode_graphs.h"
#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/gpu_matmul.h"
#include "engine/backend/cuda/kernels.h"
#include "engine/backend/cuda/model_limits.h"
#include "engine/backend/cuda/sample_staging.h"
#include "engine/backend/cuda/step_staging.h"
#include "engine/backend/cuda/weight_upload.h"
#include "engine/backend/rope_table.h"
#include "engine/check.h"

namespace kvasir::cuda {
namespace {

// Counts up with every change of arithmetic.
constexpr char kArithmeticVersion[] = "1";

class CudaBackend : public Backend {
 public:
  CudaBackend(const GpuBackendOptions& options, const Device& device, const AttentionGrid& grid);
  ~CudaBackend() override;
  // Allocates what does not depend on weights. `api`: null where cuBLASLt is not to be used.
  absl::Status Start(const CublasLtApi* api);

  std::string device() const override { return device_.name; }
  std::string numerics() const override {
    return absl::StrCat("cuda-sm_", device_.major, device_.minor, "-bf16-", kArithmeticVersion, "-",
                        matmul_.numerics());
  }
  DType activation_dtype() const override { return DType::kBf16; }
  void UseThisThread() override { CheckCuda(cudaSetDevice(device_.index), "choosing the GPU"); }

  std::unique_ptr<Buffer> Allocate(size_t bytes) override { return memory_.TryAllocate(bytes); }
  PackedWeight Pack(std::span<const HostMatrix> parts) override;
  PackedWeight PackGateUp(const HostMatrix& gate, const HostMatrix& up) override;
  std::unique_ptr<Buffer> UploadVector(const HostMatrix& vector) override;
  absl::Status Plan(const MemoryPlan& plan) override;
  int64_t DefaultKvMemory() const override {
    return std::max<int64_t>(0, memory_.available() - workspace_);
  }
  absl::Status AllocateKv(int layers, int num_blocks) override;
  absl::Status AllocateHostKv(int num_blocks) override;
  KvLayer Kv(int layer) override;
  size_t KvBlockBytes(int layers) const override { return layers * BlockBytes(); }
  const DeviceBatch& Stage(const Batch& batch) override;
  void Run(const Batch& batch, Forward forward) override;
  absl::Status Prepare(Forward forward) override;

  void Embed(Tensor x, const PackedWeight& table, const DeviceBatch& batch) override;
  void AddRmsNorm(Tensor out, Tensor residual, Tensor x, Tensor w, float eps) override;
  void Matmul(Tensor out, Tensor x, const PackedWeight& w) override;
  Tensor MatmulAdd(Tensor residual, Tensor delta, Tensor x, const PackedWeight& w) override;
  void NormRopeStore(Tensor qkv, Tensor q_norm, Tensor k_norm, KvLayer kv,
                     const DeviceBatch& batch) override;
  void Attention(Tensor out, Tensor qkv, KvLayer kv, const DeviceBatch& batch) override;
  void MatmulSiluMul(Tensor out, Tensor gate_up, Tensor x, const PackedWeight& w) override;
  void SiluMul(Tensor out, Tensor gate_up) override;
  void GatherRows(Tensor out, Tensor x, const DeviceBatch& batch) override;

  void Sample(Tensor logits, std::span<const SamplingRow> rows) override {
    sample_.Sample(logits.as<float>(), rows, stream_);
  }
  bool CanRunAhead() const override { return sample_.drawn_on_device(); }
  std::span<const SampledToken> Collect() override { return sample_.Collect(); }
  void CopyBlocks(std::span<const BlockCopy> copies) override;
  void Read(void* to, const void* device_memory, size_t bytes) override;
  void Write(void* device_memory, const void* from, size_t bytes) override;

 private:
  size_t BlockBytes() const {  // of one layer
    return size_t{2} * shape_.kv_heads * kBlockTokens * shape_.head_dim * sizeof(bf16);
  }
  KvView View(KvLayer kv) const {
    return {static_cast<bf16*>(kv.data), shape_.kv_heads, shape_.head_dim,
            static_cast<int>(kv.block_stride / sizeof(bf16))};
  }
  // A block of all layers, in the pool or in the host's memory.
  char* BlockAt(const Buffer& blocks, int block) const {
    const size_t bytes = KvBlockBytes(kv_layers_);
    KVASIR_CHECK(block >= 0 && (block + 1) * bytes <= blocks.bytes());
    return static_cast<char*>(blocks.data()) + block * bytes;
  }
  absl::Status UploadRopeTables();
  void TuneMatmul(Forward forward);

  const AttentionShape shape_;
  const Device device_;
  const StepLimits limits_;
  const AttentionGrid grid_;
  const AttentionRoom room_;
  DeviceMemory memory_;
  cudaStream_t stream_ = nullptr;
  std::optional<WeightUpload> upload_;  // until the weights are there
  StepStaging staging_;
  SampleStaging sample_;
  GpuMatmul matmul_;
  DecodeGraphs graphs_;
  std::unique_ptr<Buffer> rope_coarse_, rope_fine_;  // [positions / 256, D / 2], [256, D / 2]
  std::unique_ptr<Buffer> cos_, sin_;                // [T, D / 2]
  std::unique_ptr<Buffer> partial_;                  // states of attention's parts
  std::unique_ptr<Buffer> tickets_;
  std::unique_ptr<Buffer> kv_;             // [blocks, layers, BlockBytes()]
  std::unique_ptr<PinnedBuffer> host_kv_;  // [blocks, layers, BlockBytes()]
  int64_t workspace_ = 0;                  // of the model, planned and not allocated yet
  int kv_layers_ = 0;
  int kv_blocks_ = 0;
};

cudaStream_t NewStream() {
  cudaStream_t stream = nullptr;
  CheckCuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  return stream;
}

CudaBackend::CudaBackend(const GpuBackendOptions& options, const Device& device,
                         const AttentionGrid& grid)
    : shape_(options.attention),
      device_(device),
      limits_(LimitsOf(options)),
      grid_(grid),
      room_(RoomOf(options, grid)),
      memory_(device.total_memory, options.memory_fraction),
      stream_(NewStream()),
      staging_(limits_, grid_, room_),
      sample_(limits_.logits, options.vocab) {
  upload_.emplace(stream_);
}

absl::Status CudaBackend::Start(const CublasLtApi* api) {
  absl::Status status = staging_.Allocate(memory_);
  if (status.ok()) status = sample_.Allocate(memory_);
  if (status.ok()) status = matmul_.Start(api, memory_);
  if (status.ok()) status = upload_->Allocate();
  const size_t angles = size_t(limits_.tokens) * shape_.head_dim / 2 * sizeof(float);
  const size_t tickets = size_t(room_.tickets) * shape_.kv_heads * sizeof(unsigned);
  if (status.ok()) status = memory_.Allocate(angles, "rotary embedding", cos_);
  if (status.ok()) status = memory_.Allocate(angles, "rotary embedding", sin_);
  if (status.ok()) status = memory_.Allocate(room_.partial_bytes(grid_), "attention", partial_);
  if (status.ok()) status = memory_.Allocate(tickets, "attention", tickets_);
  if (status.ok()) status = UploadRopeTables();
  return status;
}

CudaBackend::~CudaBackend() {
  (void)cudaStreamSynchronize(stream_);
  upload_.reset();
  (void)cudaStreamDestroy(stream_);
}

absl::Status CudaBackend::UploadRopeTables() {
  RopeTable angles(shape_.rope_theta, shape_.head_dim);
  static_assert(RopeTable::kFine == kRopeFine);
  const auto upload = [this](const std::vector<RopeTable::Angle>& table,
                             std::unique_ptr<Buffer>& to) {
    static_assert(sizeof(RopeTable::Angle) == sizeof(double2));
    absl::Status status = memory_.Allocate(table.size() * sizeof(double2), "rotary embedding", to);
    if (status.ok()) Write(to->data(), table.data(), to->bytes());
    return status;
  };
  absl::Status status = upload(angles.CoarseUpTo(limits_.max_positions), rope_coarse_);
  return status.ok() ? upload(angles.fine(), rope_fine_) : status;
}

// --- memory -----------------------------------------------------------------------------------

absl::Status CudaBackend::Plan(const MemoryPlan& plan) {
  const int64_t available = memory_.available();
  const int64_t weights = DeviceMemory::Taken(plan.weights);
  const int64_t workspace = DeviceMemory::Taken(plan.workspace);
  const int64_t kv = DeviceMemory::Taken(plan.kv);
  const int64_t needed = weights + workspace + kv;
  if (needed > available) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the model needs ", needed, " bytes of GPU memory (weights ", weights,
                     ", activations ", workspace, ", --kv-memory ", kv, "), and ", available,
                     " are left of GPU ", device_.index, " under --gpu-memory-fraction"));
  }
  workspace_ = workspace;
  return absl::OkStatus();
}

PackedWeight CudaBackend::Pack(std::span<const HostMatrix> parts) {
  PackedWeight packed;
  packed.dtype = DType::kBf16;
  packed.cols = parts[0].cols;
  for (const HostMatrix& part : parts) packed.rows += part.rows;
  packed.data = memory_.TryAllocate(size_t(packed.rows) * packed.cols * sizeof(bf16));
  if (packed.data != nullptr) upload_->Stack(parts, packed.data->data());
  return packed;
}

PackedWeight CudaBackend::PackGateUp(const HostMatrix& gate, const HostMatrix& up) {
  PackedWeight packed;
  packed.dtype = DType::kBf16;
  packed.cols = gate.cols;
  packed.rows = 2 * gate.rows;
  packed.data = memory_.TryAllocate(size_t(packed.rows) * packed.cols * sizeof(bf16));
  if (packed.data != nullptr) upload_->Interleave(gate, up, packed.data->data());
  return packed;
}

std::unique_ptr<Buffer> CudaBackend::UploadVector(const HostMatrix& vector) {
  std::unique_ptr<Buffer> buffer =
      memory_.TryAllocate(size_t(vector.rows) * vector.cols * sizeof(float));
  if (buffer != nullptr) upload_->Vector(vector, buffer->data());
  return buffer;
}

absl::Status CudaBackend::AllocateKv(int layers, int num_blocks) {
  KVASIR_CHECK(kv_ == nullptr && layers > 0 && num_blocks > 0);
  const size_t bytes = num_blocks * KvBlockBytes(layers);
  if (static_cast<int64_t>(bytes) <= DefaultKvMemory()) kv_ = memory_.TryAllocate(bytes);
  if (kv_ == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a KV pool of ", bytes, " bytes (--kv-memory) exceeds the ", DefaultKvMemory(),
                     " bytes that are left of GPU ", device_.index));
  }
  kv_layers_ = layers;
  kv_blocks_ = num_blocks;
  return absl::OkStatus();
}

KvLayer CudaBackend::Kv(int layer) {
  KVASIR_CHECK(layer >= 0 && layer < kv_layers_);
  return {static_cast<char*>(kv_->data()) + layer * BlockBytes(), kv_blocks_,
          KvBlockBytes(kv_layers_)};
}

absl::Status CudaBackend::AllocateHostKv(int num_blocks) {
  KVASIR_CHECK(kv_ != nullptr && num_blocks >= 0);
  CheckCuda(cudaStreamSynchronize(stream_), "copying KV blocks");
  host_kv_.reset();
  if (num_blocks == 0) return absl::OkStatus();
  return PinnedBuffer::Allocate(num_blocks * KvBlockBytes(kv_layers_), "K and V", host_kv_);
}

void CudaBackend::CopyBlocks(std::span<const BlockCopy> copies) {
#if defined(BUG_STEP_COPY_ONE_LAYER)
  const size_t bytes = BlockBytes();  // planted: a fork's other layers stay as they were
#else
  const size_t bytes = KvBlockBytes(kv_layers_);
#endif
  for (const auto& [from, to, way] : copies) {
    const bool to_host = way == BlockCopy::Way::kToHost;
    const bool from_host = way == BlockCopy::Way::kFromHost;
#if defined(BUG_STEP_SAVE_STREAM)
    // planted: nothing keeps the step from writing a block that is being saved
    cudaStream_t stream = to_host ? nullptr : stream_;
#else
    cudaStream_t stream = stream_;
#endif
    CheckCuda(cudaMemcpyAsync(BlockAt(to_host ? *host_kv_ : *kv_, to),
                              BlockAt(from_host ? *host_kv_ : *kv_, from), bytes,
                              to_host     ? cudaMemcpyDeviceToHost
                              : from_host ? cudaMemcpyHostToDevice
                                          : cudaMemcpyDeviceToDevice,
                              stream),
              "copying KV blocks");
  }
}

// A copy from pageable memory on the default stream may still be under way when it returns.
void CudaBackend::Read(void* to, const void* device_memory, size_t bytes) {
  CheckCuda(cudaMemcpyAsync(to, device_memory, bytes, cudaMemcpyDeviceToHost, stream_),
            "reading memory");
  CheckCuda(cudaStreamSynchronize(stream_), "reading memory");
}

void CudaBackend::Write(void* device_memory, const void* from, size_t bytes) {
  CheckCuda(cudaMemcpyAsync(device_memory, from, bytes, cudaMemcpyHostToDevice, stream_),
            "writing memory");
  CheckCuda(cudaStreamSynchronize(stream_), "writing memory");
}

// --- one step ---------------------------------------------------------------------------------

const DeviceBatch& CudaBackend::Stage(const Batch& batch) {
  staging_.Stage(batch, batch.num_tokens(), stream_);
  return staging_.batch();
}

void CudaBackend::Run(const Batch& batch, Forward forward) {
  const int rows = batch.num_tokens();
  const int max_rows = std::min(limits_.sequences, limits_.tokens);
#if defined(BUG_GRAPH_TAKES_PROMPTS)
  const bool decode = rows == batch.num_logits();  // planted: a prompt may have logits everywhere
#else
  const bool decode = rows == batch.num_sequences() && rows == batch.num_logits();
#endif
  const int padded = decode ? DecodeGraphs::PaddedRows(rows, max_rows) : 0;
#if defined(BUG_GRAPH_UNPADDED)
  staging_.Stage(batch, rows, stream_);  // planted: the other rows are those of the step before
#else
  staging_.Stage(batch, std::max(rows, padded), stream_);
#endif
  if (padded > 0 && graphs_.Launch(padded, stream_)) return;
  forward(staging_.batch());
}

absl::Status CudaBackend::Prepare(Forward forward) {
  CheckCuda(cudaStreamSynchronize(stream_), "loading the model");
  upload_.reset();
  workspace_ = 0;
  TuneMatmul(forward);
  const int max_rows = std::min(limits_.sequences, limits_.tokens);
  for (int rows = DecodeGraphs::PaddedRows(1, max_rows); rows > 0;
       rows = DecodeGraphs::PaddedRows(rows + 1, max_rows)) {
#if defined(BUG_GRAPH_EIGHT_LOGITS)
    staging_.StagePadding(rows, std::min(rows, 8), stream_);  // planted: the others get none
#else
    staging_.StagePadding(rows, rows, stream_);
#endif
#if !defined(BUG_GRAPH_WITHOUT_ATTENTION)  // planted: it is recorded as this step needs it
    staging_.ExpectDecodeTiles();
#endif
#if !defined( \
    BUG_STEP_RECORDED_COLD)  // planted: a product of so many rows is there for the first time
    forward(staging_.batch());
    CheckCuda(cudaStreamSynchronize(stream_), "running a step for the first time");
#endif
    const absl::Status recorded = graphs_.Record(rows, stream_, [&] { forward(staging_.batch()); });
    if (!recorded.ok()) return recorded;
  }
  CheckCuda(cudaStreamSynchronize(stream_), "recording steps");
  return absl::OkStatus();
}

// Every product of the model once, for every power of two of rows; the values do not matter.
// REQUIRES: the KV pool is there.
void CudaBackend::TuneMatmul(Forward forward) {
  if (matmul_.UsesOwnKernel(limits_.tokens)) return;
  // The pool is all zeros still, and larger than any L2 where the model is a large one.
  constexpr size_t kEvictorBytes = size_t{256} << 20;
  KVASIR_CHECK(kv_ != nullptr);
  matmul_.StartTuning(kv_->data(), std::min(kv_->bytes(), kEvictorBytes));
  for (int rows = 1; rows < 2 * limits_.tokens; rows *= 2) {
    const int some = std::min(rows, limits_.tokens);
    if (matmul_.UsesOwnKernel(some)) continue;
    staging_.StagePadding(some, std::min(some, limits_.logits), stream_);
    forward(staging_.batch());
    CheckCuda(cudaStreamSynchronize(stream_), "choosing algorithms");
  }
  matmul_.EndTuning();
}

void CudaBackend::Embed(Tensor x, const PackedWeight& table, const DeviceBatch& batch) {
  CheckCuda(cuda::Embed(x.as<float>(), static_cast<const bf16*>(table.data->data()), batch.tokens,
                        sample_.sampled(), x.rows, x.cols, stream_),
            "Embed");
  CheckCuda(RopeAngles(static_cast<float*>(cos_->data()), static_cast<float*>(sin_->data()),
                       batch.positions, static_cast<const double2*>(rope_coarse_->data()),
                       static_cast<const double2*>(rope_fine_->data()), x.rows, shape_.head_dim / 2,
                       stream_),
            "RopeAngles");
}

void CudaBackend::AddRmsNorm(Tensor out, Tensor residual, Tensor x, Tensor w, float eps) {
  CheckCuda(cuda::AddRmsNorm(out.as<bf16>(), residual.as<float>(), x.as<float>(), w.as<float>(),
                             residual.rows, residual.cols, eps, stream_),
            "AddRmsNorm");
}

void CudaBackend::Matmul(Tensor out, Tensor x, const PackedWeight& w) {
  matmul_.Multiply({.x = x.as<bf16>(),
                    .w = static_cast<const bf16*>(w.data->data()),
                    .m = x.rows,
                    .n = w.rows,
                    .k = w.cols,
                    .out = out.as<float>()},
                   stream_);
}

Tensor CudaBackend::MatmulAdd(Tensor residual, Tensor /*delta*/, Tensor x, const PackedWeight& w) {
  matmul_.Multiply({.x = x.as<bf16>(),
                    .w = static_cast<const bf16*>(w.data->data()),
                    .m = x.rows,
                    .n = w.rows,
                    .k = w.cols,
                    .out = residual.as<float>(),
                    .add = true},
                   stream_);
  return {};
}

void CudaBackend::MatmulSiluMul(Tensor out, Tensor gate_up, Tensor x, const PackedWeight& w) {
  MatmulArgs args = {.x = x.as<bf16>(),
                     .w = static_cast<const bf16*>(w.data->data()),
                     .m = x.rows,
                     .n = w.rows,
                     .k = w.cols,
                     .rounded = gate_up.as<bf16>()};
  if (matmul_.MultiplyByLibrary(args, stream_)) {
    CheckCuda(cuda::SiluMul(out.as<bf16>(), args.rounded, out.rows, out.cols, stream_), "SiluMul");
    return;
  }
  args.rounded = nullptr;
  args.gated = out.as<bf16>();
  matmul_.MultiplyByOwnKernel(args, stream_);
}

void CudaBackend::SiluMul(Tensor out, Tensor gate_up) {
  CheckCuda(cuda::SiluMul(out.as<bf16>(), gate_up.as<float>(), out.rows, out.cols, stream_),
            "SiluMul");
}

void CudaBackend::NormRopeStore(Tensor qkv, Tensor q_norm, Tensor k_norm, KvLayer kv,
                                const DeviceBatch& batch) {
  CheckCuda(cuda::NormRopeStore({.qkv = qkv.as<float>(),
                                 .q_norm = q_norm.as<float>(),
                                 .k_norm = k_norm.as<float>(),
                                 .cos = static_cast<const float*>(cos_->data()),
                                 .sin = static_cast<const float*>(sin_->data()),
                                 .slots = batch.slots,
                                 .kv = View(kv),
                                 .rows = qkv.rows,
                                 .heads = shape_.heads,
                                 .eps = shape_.norm_eps},
                                stream_),
            "NormRopeStore");
}

void CudaBackend::Attention(Tensor out, Tensor qkv, KvLayer kv, const DeviceBatch& batch) {
  AttentionArgs args = {.out = out.as<bf16>(),
                        .qkv = qkv.as<float>(),
                        .kv = View(kv),
                        .positions = batch.positions,
                        .block_table = batch.block_table,
                        .heads = shape_.heads,
                        .partial = static_cast<float*>(partial_->data()),
                        .tickets = static_cast<unsigned*>(tickets_->data())};
  for (const bool few : {true, false}) {
    const StepStaging::Tiles tiles = few ? staging_.few() : staging_.many();
    if (!tiles.any) continue;
    args.tiles = tiles.tiles;
    args.count = tiles.count;
    const int held = few ? grid_.few_blocks : grid_.many_blocks;
    const int blocks = (held + shape_.kv_heads - 1) / shape_.kv_heads;
    CheckCuda(cuda::Attention(args, few, blocks, stream_), "Attention");
  }
}

void CudaBackend::GatherRows(Tensor out, Tensor x, const DeviceBatch& batch) {
  CheckCuda(
      cuda::GatherRows(out.as<bf16>(), x.as<bf16>(), batch.logit_rows, out.rows, x.cols, stream_),
      "GatherRows");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const GpuBackendOptions& options) {
  absl::StatusOr<CublasLtApi> library = absl::NotFoundError("not wanted");
  if (!options.deterministic) library = LoadCublasLt();
  return CreateCudaBackend(options, library.ok() ? &*library : nullptr);
}

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const GpuBackendOptions& options,
                                                           const CublasLtApi* library) {
  absl::Status model = CheckModel(options);
  if (!model.ok()) return model;
  const absl::StatusOr<Device> device = OpenDevice(options.device);
  if (!device.ok()) return device.status();
  if (const cudaError_t error = FirstError(LoadRowwiseKernels(), LoadMatmulKernels(),
                                           LoadAttentionKernels(), LoadSampleKernels());
      error != cudaSuccess) {
    return absl::FailedPreconditionError(absl::StrCat(
        "GPU ", device->index, " (", device->name, ", compute capability ", device->major, ".",
        device->minor, ") cannot run this build's kernels: ", cudaGetErrorString(error)));
  }
  const absl::StatusOr<AttentionGrid> grid = GridOf(options.attention, *device);
  if (!grid.ok()) return grid.status();
  const int64_t needed = DeviceMemory::Taken(FixedBytes(options, *grid));
  const int64_t available = DeviceMemory(device->total_memory, options.memory_fraction).available();
  if (needed > available) {
    return absl::ResourceExhaustedError(absl::StrCat("GPU ", device->index, " has ", available,
                                                     " bytes of memory left under "
                                                     "--gpu-memory-fraction, and ",
                                                     needed, " are the least"));
  }
  auto backend = std::make_unique<CudaBackend>(options, *device, *grid);
  if (absl::Status started = backend->Start(library); !started.ok()) return started;
  return backend;
}

}  // namespace kvasir::cuda
