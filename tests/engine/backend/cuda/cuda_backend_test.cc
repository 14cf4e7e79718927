// The backend's host side on the emulated GPU: what it refuses, what it plans, how it copies.
#include "engine/backend/cuda/cuda_backend.h"

#include <simt.h>

#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels.h"
#include "engine/backend/cuda/model_limits.h"
#include "engine/model/qwen3.h"
#include "gmock/gmock.h"
#include "tests/engine/backend/cuda/device_testing.h"
#include "tests/engine/backend/cuda/emulated_cublaslt.h"
#include "tests/engine/random_weights.h"

namespace kvasir::cuda {
namespace {

using testing::HasSubstr;

GpuBackendOptions SmallModel() {
  GpuBackendOptions options;
  options.attention = {4, 2, 16, 1e4, 1e-6f};
  options.hidden = 32;
  options.ffn = 24;
  options.vocab = 40;
  options.layers = 2;
  options.max_positions = 256;
  options.max_step_tokens = 32;
  options.max_sequences = 5;
  options.max_logits = 10;
  return options;
}

ModelConfig SmallConfig() {
  return {.layers = 2,
          .hidden = 32,
          .ffn = 24,
          .vocab = 40,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 16,
          .rope_theta = 1e4,
          .norm_eps = 1e-6f,
          .max_positions = 256,
          .tied_embeddings = true};
}

class CudaBackendTest : public testing::Test {
 protected:
  ~CudaBackendTest() override { simt::SetDevice({}); }

  static absl::Status StatusOn(const simt::Device& device,
                               const GpuBackendOptions& options = SmallModel()) {
    simt::SetDevice(device);
    return CreateCudaBackend(options).status();
  }
  static std::unique_ptr<Backend> Create(const GpuBackendOptions& options = SmallModel()) {
    absl::StatusOr<std::unique_ptr<Backend>> backend = CreateCudaBackend(options);
    KVASIR_CHECK(backend.ok());
    return *std::move(backend);
  }
};

TEST_F(CudaBackendTest, OneClearLineWhereItCannotRun) {
  const absl::Status no_driver = StatusOn({.presence = simt::Device::Presence::kNoDriver});
  EXPECT_EQ(no_driver, absl::NotFoundError("no GPU: no NVIDIA driver"));

  const absl::Status old_driver = StatusOn({.driver_version = 12040});
  EXPECT_EQ(old_driver.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(old_driver.message()),
              testing::AllOf(HasSubstr("12.4"), HasSubstr("13.0")));

  const absl::Status no_device = StatusOn({.presence = simt::Device::Presence::kNoDevice});
  EXPECT_EQ(no_device.code(), absl::StatusCode::kNotFound);

  const absl::Status old = StatusOn({.name = "Tesla T4", .major = 7, .minor = 5});
  EXPECT_EQ(old.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(old.message()),
              testing::AllOf(HasSubstr("Tesla T4"), HasSubstr("7.5"), HasSubstr("8.0")));

  const absl::Status small = StatusOn({.memory = 1 << 20});
  EXPECT_EQ(small.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(small.message()), HasSubstr("--gpu-memory-fraction"));

  GpuBackendOptions second = SmallModel();
  second.device = 1;
  const absl::Status absent = StatusOn({}, second);
  EXPECT_EQ(absent.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(absent.message()), HasSubstr("GPU 1"));
}

TEST_F(CudaBackendTest, RefusesByNameWhatItDoesNotCompute) {
  const auto refuses = [](auto change, const char* field) {
    GpuBackendOptions options = SmallModel();
    change(options);
    const absl::Status status = CreateCudaBackend(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(field));
  };
  refuses([](auto& o) { o.hidden = 36; }, "hidden_size");
  refuses([](auto& o) { o.ffn = 52; }, "intermediate_size");
  refuses([](auto& o) { o.attention.head_dim = 24; }, "head_dim");
  refuses([](auto& o) { o.attention.heads = 34; }, "num_attention_heads");
  refuses([](auto& o) { o.vocab = 300'000; }, "vocab_size");
}

TEST_F(CudaBackendTest, PlansBeforeItAllocates) {
  simt::SetDevice({.memory = size_t{1} << 30});
  GpuBackendOptions options = SmallModel();
  options.memory_fraction = 0.5;
  const std::unique_ptr<Backend> backend = Create(options);
  const int64_t left = backend->DefaultKvMemory();
  EXPECT_GT(left, 0);
  EXPECT_LT(left, int64_t{1} << 29);

  const size_t before = simt::ReadStatistics().device_bytes;
  const absl::Status too_much =
      backend->Plan({.weights = {size_t(left)}, .workspace = {1}, .kv = 0});
  EXPECT_EQ(too_much.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(too_much.message()), HasSubstr(std::to_string(left)));
  EXPECT_EQ(simt::ReadStatistics().device_bytes, before);

  // The pool leaves room for the activations that come after it.
  constexpr int64_t kWorkspace = 6 << 20;  // 3 MiB in pieces of 2, and one for small ones
  ASSERT_TRUE(backend->Plan({.weights = {1000}, .workspace = {3 << 20}, .kv = 0}).ok());
  EXPECT_EQ(backend->DefaultKvMemory(), left - kWorkspace);
  const size_t block = backend->KvBlockBytes(2);
  EXPECT_EQ(backend->AllocateKv(2, static_cast<int>(left / block)).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(backend->AllocateKv(2, static_cast<int>((left - kWorkspace) / block)).ok());
}

// What is planned is what is taken, buffer by buffer.
TEST_F(CudaBackendTest, PlansAllThatItAllocates) {
  const auto sum = [](const std::vector<size_t>& bytes) {
    return std::accumulate(bytes.begin(), bytes.end(), size_t{0});
  };
  const auto taken = [] { return simt::ReadStatistics().device_bytes; };
  const ModelConfig config = SmallConfig();
  const absl::StatusOr<Device> device = OpenDevice(0);
  ASSERT_TRUE(device.ok());
  for (const bool deterministic : {true, false}) {
    GpuBackendOptions options = SmallModel();
    options.deterministic = deterministic;
    size_t before = taken();
    const CublasLtApi api = EmulatedCublasLt();
    absl::StatusOr<std::unique_ptr<Backend>> backend =
        CreateCudaBackend(options, deterministic ? nullptr : &api);
    ASSERT_TRUE(backend.ok());
    const absl::StatusOr<AttentionGrid> grid = GridOf(options.attention, *device);
    ASSERT_TRUE(grid.ok()) << grid.status();
    EXPECT_EQ(taken() - before, sum(FixedBytes(options, *grid)));

    before = taken();
    const std::vector<uint16_t> random = RandomBf16(LargestMatrix(config));
    const Weights weights = RandomWeights(config, random, **backend);
    EXPECT_EQ(taken() - before, sum(WeightBytes(config, DType::kBf16)));

    ASSERT_TRUE((*backend)->AllocateKv(config.layers, 14).ok());
    before = taken();
    const auto model = Qwen3::Create(config, weights, **backend, 32, 10);
    ASSERT_TRUE(model.ok());
    EXPECT_EQ(taken() - before, sum(Qwen3::WorkspaceBytes(config, DType::kBf16, 32, 10)));
  }
}

// Attention is cut for the blocks that the device at hand can hold, of each of its two kernels.
TEST_F(CudaBackendTest, AttentionIsPlannedForWhatTheDeviceHolds) {
  const AttentionShape shape = {.heads = 32, .kv_heads = 8, .head_dim = 128};
  const auto grid_on = [&](const simt::Device& device) {
    simt::SetDevice(device);
    const absl::StatusOr<Device> opened = OpenDevice(0);
    KVASIR_CHECK(opened.ok());
    return GridOf(shape, *opened);
  };
  simt::Device small = {.major = 8,
                        .minor = 9,
                        .multiprocessors = 10,
                        .shared_per_block = 99 << 10,
                        .shared_per_multiprocessor = 100 << 10};
  const simt::Device large = {.major = 9,
                              .multiprocessors = 10,
                              .shared_per_block = 227 << 10,
                              .shared_per_multiprocessor = 228 << 10};
  const absl::StatusOr<AttentionGrid> on_small = grid_on(small);
  const absl::StatusOr<AttentionGrid> on_large = grid_on(large);
  ASSERT_TRUE(on_small.ok() && on_large.ok());
  EXPECT_EQ(on_small->many_blocks, 10);
  EXPECT_LT(on_small->few_blocks, 30);
  EXPECT_GE(on_large->few_blocks, 30);
  small.shared_per_block = 20 << 10;
  EXPECT_EQ(grid_on(small).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(CudaBackendTest, PacksAndRoundsWeights) {
  const std::unique_ptr<Backend> backend = Create();
  // 20 rows of gate and up: f32, and f16 with a subnormal.
  std::vector<float> gate = NormalFloats(24 * 32, 1);
  std::vector<uint16_t> up(24 * 32, 0x3c01);  // 1 + 2^-10
  up[5] = 0x0001;                             // 2^-24
  const PackedWeight packed =
      backend->PackGateUp({gate.data(), DType::kF32, 24, 32}, {up.data(), DType::kF16, 24, 32});
  ASSERT_EQ(packed.rows, 48);
  std::vector<bf16> values(48 * 32);
  backend->Read(values.data(), packed.data->data(), values.size() * sizeof(bf16));
  for (int row = 0; row < 48; ++row) {
    for (int i = 0; i < 32; ++i) {
      const int from = row / 16 * 8 + row % 8;
      const float expected = row % 16 < 8          ? FromBf16(ToBf16(gate[from * 32 + i]))
                             : from == 0 && i == 5 ? 0x1p-24f
                                                   : 1.0f;  // 2^-10 is past bf16's last place
      ASSERT_EQ(FromBf16(values[row * 32 + i]), expected) << row << " " << i;
    }
  }
  const std::vector<float> norm = NormalFloats(7, 2);
  const std::unique_ptr<Buffer> vector = backend->UploadVector({norm.data(), DType::kF32, 1, 7});
  std::vector<float> uploaded(7);
  backend->Read(uploaded.data(), vector->data(), 7 * sizeof(float));
  EXPECT_EQ(uploaded, norm);
}

// More than both staging buffers hold, so that each is filled again; under schedules that copy at
// once and as late as can be.
TEST_F(CudaBackendTest, UploadsWhatIsLargerThanItsStaging) {
  constexpr int kRows = 5000;
  constexpr int kCols = 4096;  // 40 MB
  std::vector<uint16_t> source(size_t{kRows} * kCols);
  for (uint32_t i = 0; i < source.size(); ++i) {  // no two pieces of it are alike
    source[i] = static_cast<uint16_t>(i * 2654435761u >> 16);
  }
  for (const simt::Order order : {simt::Order::kInOrder, simt::Order::kReversed}) {
    simt::SetSchedule({order, 0});
    const std::unique_ptr<Backend> backend = Create();
    const HostMatrix part = {source.data(), DType::kBf16, kRows, kCols};
    const PackedWeight packed = backend->Pack({&part, 1});
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);  // whatever is still to come, comes
    std::vector<uint16_t> back(source.size());
    backend->Read(back.data(), packed.data->data(), back.size() * 2);
    EXPECT_TRUE(back == source);
  }
  simt::SetSchedule({});
}

char* BlockOf(Backend& backend, int layer, int block) {
  const KvLayer kv = backend.Kv(layer);
  return static_cast<char*>(kv.data) + block * kv.block_stride;
}
// A layer's block: numbers from `first` on.
void WriteBlock(Backend& backend, int layer, int block, int first) {
  std::vector<int> content(backend.KvBlockBytes(1) / sizeof(int));
  std::iota(content.begin(), content.end(), first);
  backend.Write(BlockOf(backend, layer, block), content.data(), content.size() * sizeof(int));
}
void ExpectBlock(Backend& backend, int layer, int block, int first) {
  SCOPED_TRACE(testing::Message() << "layer " << layer << " block " << block);
  std::vector<int> content(backend.KvBlockBytes(1) / sizeof(int)), expected(content.size());
  backend.Read(content.data(), BlockOf(backend, layer, block), content.size() * sizeof(int));
  std::iota(expected.begin(), expected.end(), first);
  EXPECT_EQ(content, expected);
}

TEST_F(CudaBackendTest, CopiesBlocksOfEveryLayer) {
  const std::unique_ptr<Backend> backend = Create();
  constexpr int kBlocks = 5;
  ASSERT_TRUE(backend->AllocateKv(2, kBlocks).ok());
  for (int layer = 0; layer < 2; ++layer) {
    for (int b = 0; b < kBlocks; ++b) WriteBlock(*backend, layer, b, 1000 * layer + 100 * b);
  }
  backend->CopyBlocks(std::vector<BlockCopy>{{1, 4}, {0, 2}});
  const int expected[] = {0, 1, 0, 3, 1};
  for (int layer = 0; layer < 2; ++layer) {
    for (int b = 0; b < kBlocks; ++b) {
      ExpectBlock(*backend, layer, b, 1000 * layer + 100 * expected[b]);
    }
  }
}

// To the host's memory and back, what was there being overwritten in between: each copy sees those
// before it, whether work is done at once or as late as may be.
TEST_F(CudaBackendTest, CopiesBlocksToTheHostAndBackInOrder) {
  using Way = BlockCopy::Way;
  constexpr int kBlocks = 5;
  for (const simt::Order order : {simt::Order::kInOrder, simt::Order::kReversed}) {
    simt::SetSchedule({order, 0});
    const std::unique_ptr<Backend> backend = Create();
    ASSERT_TRUE(backend->AllocateKv(2, kBlocks).ok());
    const size_t before = simt::ReadStatistics().pinned_bytes;
    ASSERT_TRUE(backend->AllocateHostKv(7).ok());
    ASSERT_TRUE(backend->AllocateHostKv(3).ok()) << "in place of those";
    EXPECT_EQ(simt::ReadStatistics().pinned_bytes - before, 3 * backend->KvBlockBytes(2));

    for (int layer = 0; layer < 2; ++layer) {
      for (int b = 0; b < kBlocks; ++b) WriteBlock(*backend, layer, b, 1000 * layer + 100 * b);
    }
    backend->CopyBlocks(std::vector<BlockCopy>{{1, 2, Way::kToHost},
                                               {4, 0, Way::kToHost},
                                               {0, 1},
                                               {2, 4, Way::kFromHost},
                                               {0, 3, Way::kFromHost},
                                               {4, 0, Way::kToHost},
                                               {0, 2, Way::kFromHost}});
    const int expected[] = {0, 0, 1, 4, 1};
    for (int layer = 0; layer < 2; ++layer) {
      for (int b = 0; b < kBlocks; ++b) {
        ExpectBlock(*backend, layer, b, 1000 * layer + 100 * expected[b]);
      }
    }
    ASSERT_TRUE(backend->AllocateHostKv(0).ok());
    EXPECT_EQ(simt::ReadStatistics().pinned_bytes, before);
  }
  simt::SetSchedule({});
}

GpuBackendOptions TwelveSequences() {
  GpuBackendOptions options = SmallModel();
  options.max_sequences = 12;
  options.max_logits = 16;
  return options;
}

// A model of two layers, which reads a prompt of 20 tokens and then decodes 12 sequences.
// Uses the 14 blocks from first_block on.
std::vector<float> Logits(Backend& backend, const ModelConfig& config, int first_block = 0) {
  const std::vector<uint16_t> random = RandomBf16(LargestMatrix(config));
  const Weights weights = RandomWeights(config, random, backend);
  KVASIR_CHECK(backend.AllocateKv(config.layers, first_block + 14).ok());
  const absl::StatusOr<std::unique_ptr<Qwen3>> model =
      Qwen3::Create(config, weights, backend, 32, 16);
  KVASIR_CHECK(model.ok());
  std::vector<float> logits;
  const auto run = [&](const Batch& batch) {
    const Tensor out = (*model)->Forward(batch);
    const size_t before = logits.size();
    logits.resize(before + size_t(out.rows) * out.cols);
    backend.Read(logits.data() + before, out.data, out.bytes());
  };
  Batch prompt;
  prompt.Clear();
  for (int i = 0; i < 20; ++i) {
    prompt.tokens.push_back(i);
    prompt.positions.push_back(i);
    prompt.slots.push_back(first_block * kBlockTokens + i);
  }
  prompt.query_start.push_back(20);
  prompt.context_length = {20};
  prompt.block_table = {first_block, first_block + 1};
  prompt.max_blocks = 2;
  prompt.logit_rows = {19};
  run(prompt);
  Batch decode;
  decode.Clear();
  decode.max_blocks = 1;
  for (int s = 0; s < 12; ++s) {
    decode.tokens.push_back(s + 1);
    decode.positions.push_back(0);
    decode.slots.push_back((first_block + 2 + s) * kBlockTokens);
    decode.query_start.push_back(s + 1);
    decode.context_length.push_back(1);
    decode.block_table.push_back(first_block + 2 + s);
    decode.logit_rows.push_back(s);
  }
  run(decode);
  return logits;
}

TEST_F(CudaBackendTest, TheLibraryMultipliesManyRows) {
  const ModelConfig config = SmallConfig();
  GpuBackendOptions options = TwelveSequences();
  const std::unique_ptr<Backend> own = Create(options);
  const std::vector<float> expected = Logits(*own, config);

  CublasLtCounts() = {};
  const CublasLtApi api = EmulatedCublasLt();
  absl::StatusOr<std::unique_ptr<Backend>> backend = CreateCudaBackend(options, &api);
  ASSERT_TRUE(backend.ok()) << backend.status();
  const std::vector<float> logits = Logits(**backend, config);
  EXPECT_THAT((*backend)->numerics(), HasSubstr("cublaslt"));
  EXPECT_THAT(own->numerics(), HasSubstr("own"));
  // Five matrices of the model at 16 and at 32 rows, and the head at 16: asked about once each.
  EXPECT_EQ(CublasLtCounts().heuristics, 9);
  EXPECT_EQ(CublasLtCounts().last_algorithm, EmulatedAlgorithm::kFast);
  // The graph of 12 rows has all nine of the model's products by the library.
  EXPECT_EQ(CublasLtCounts().recorded, 9);

  // Sums in another order round some activation to its other neighbour in bf16: once for each of
  // the ten products, at most.
  float largest = 0;
  for (const float logit : expected) largest = std::max(largest, std::abs(logit));
  ASSERT_EQ(logits.size(), expected.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    ASSERT_LE(std::abs(logits[i] - expected[i]), 10 * kBf16Rounding * largest) << i;
  }
}

// A library that fails in the middle leaves its products to our own kernel: none is lost.
TEST_F(CudaBackendTest, WhatTheLibraryFailsAtIsMultipliedAllTheSame) {
  const ModelConfig config = SmallConfig();
  GpuBackendOptions options = TwelveSequences();
  const std::unique_ptr<Backend> own = Create(options);
  const std::vector<float> expected = Logits(*own, config);
  CublasLtApi no_heuristic = EmulatedCublasLt();
  no_heuristic.heuristic = [](CublasLtHandle, CublasLtMatmulDesc, CublasLtLayout, CublasLtLayout,
                              CublasLtLayout, CublasLtLayout, CublasLtPreference, int,
                              CublasLtHeuristic*, int*) { return 1; };
  CublasLtApi no_product = EmulatedCublasLt();
  no_product.matmul = [](CublasLtHandle, CublasLtMatmulDesc, const void*, const void*,
                         CublasLtLayout, const void*, CublasLtLayout, const void*, const void*,
                         CublasLtLayout, void*, CublasLtLayout, const CublasLtAlgorithm*, void*,
                         size_t, cudaStream_t) { return 1; };
  for (const CublasLtApi& api : {no_heuristic, no_product}) {
    absl::StatusOr<std::unique_ptr<Backend>> backend = CreateCudaBackend(options, &api);
    ASSERT_TRUE(backend.ok()) << backend.status();
    EXPECT_EQ(Logits(**backend, config), expected);
  }
}

// What a step needs is on the device before the first step.
TEST_F(CudaBackendTest, GraphsAreLaunchedWarm) {
  const simt::Statistics before = simt::ReadStatistics();
  const std::unique_ptr<Backend> backend = Create(TwelveSequences());
  (void)Logits(*backend, SmallConfig());
  const simt::Statistics after = simt::ReadStatistics();
  EXPECT_EQ(after.graph_launches - before.graph_launches, 1);
  EXPECT_EQ(after.cold_graph_launches, before.cold_graph_launches);
}

// Where a pool is larger than 32 bits count, its last blocks are as good as its first.
TEST_F(CudaBackendTest, BlocksBeyondFourGigabytes) {
  simt::SetDevice({.memory = size_t{8} << 30});
  const ModelConfig config = SmallConfig();
  GpuBackendOptions options = TwelveSequences();
  options.deterministic = true;
  const std::unique_ptr<Backend> small = Create(options);
  const std::vector<float> expected = Logits(*small, config);
  const std::unique_ptr<Backend> large = Create(options);
  const int beyond = static_cast<int>((size_t{9} << 29) / large->KvBlockBytes(config.layers));
  EXPECT_EQ(Logits(*large, config, beyond), expected);

  ASSERT_TRUE(large->AllocateHostKv(2).ok());
  WriteBlock(*large, 1, beyond + 3, 70);
  using Way = BlockCopy::Way;
  large->CopyBlocks(std::vector<BlockCopy>{
      {beyond + 3, 1, Way::kToHost}, {1, beyond + 4, Way::kFromHost}, {beyond + 4, beyond + 5}});
  ExpectBlock(*large, 1, beyond + 5, 70);
}

// What cannot be drawn on the device comes from the host, by the same rules.
TEST_F(CudaBackendTest, DrawsOnTheHostWhatFindsNoRoom) {
  constexpr int kVocab = 40;
  const std::unique_ptr<Backend> backend = Create();
  std::vector<float> logits(2 * kVocab);
  const std::unique_ptr<Buffer> buffer = backend->Allocate(logits.size() * sizeof(float));
  SamplingParams plain;
  plain.temperature = 0;
  SamplingParams biased = plain;  // more entries than there is room for; 7 wins
  for (int i = 0; i < 20000; ++i) biased.logit_bias.emplace_back(7, 0.01f);
  const std::vector<SamplingRow> rows = {{.logits_row = 0, .params = &plain},
                                         {.logits_row = 1, .params = &biased}};
  for (const simt::Order order : {simt::Order::kInOrder, simt::Order::kReversed}) {
    simt::SetSchedule({order, 0});
    logits = NormalFloats(2 * kVocab, 3 + static_cast<int>(order));  // each time another one wins
    backend->Write(buffer->data(), logits.data(), logits.size() * sizeof(float));
    backend->Sample({buffer->data(), DType::kF32, 2, kVocab}, rows);
    const std::span<const SampledToken> drawn = backend->Collect();
    ASSERT_EQ(drawn.size(), 2);
    const auto greatest = std::max_element(logits.begin(), logits.begin() + kVocab);
    EXPECT_EQ(drawn[0].id, greatest - logits.begin());
    EXPECT_EQ(drawn[1].id, 7);
  }
  simt::SetSchedule({});
}

}  // namespace
}  // namespace kvasir::cuda
