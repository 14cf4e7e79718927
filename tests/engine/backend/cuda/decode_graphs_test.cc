// Steps of a small model with recorded graphs and verb by verb: the same bits of logits, K and V,
// whatever steps came before.
#include "engine/backend/cuda/decode_graphs.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "engine/backend/cuda/cuda_backend.h"
#include "engine/check.h"
#include "engine/model/qwen3.h"
#include "gmock/gmock.h"
#include "tests/engine/backend/cuda/device_testing.h"
#include "tests/engine/backend/graph_switch.h"
#include "tests/engine/random_weights.h"

#if defined(KVASIR_SIMT)
#include <simt.h>
#endif

namespace kvasir::cuda {
namespace {

constexpr int kMaxSequences = 20;
constexpr int kMaxTokens = 96;
constexpr int kMaxContext = 1100;  // three spans of attention
constexpr int kBlocks = 320;

ModelConfig SmallModel() {
  return {.layers = 2,
          .hidden = 32,
          .ffn = 24,
          .vocab = 40,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 16,
          .rope_theta = 1e4,
          .norm_eps = 1e-6f,
          .max_positions = kMaxContext,
          .tied_embeddings = true};
}

std::unique_ptr<Backend> CreateBackend(const ModelConfig& config) {
  GpuBackendOptions options;
  options.attention = {config.heads, config.kv_heads, config.head_dim, config.rope_theta,
                       config.norm_eps};
  options.hidden = config.hidden;
  options.ffn = config.ffn;
  options.vocab = config.vocab;
  options.layers = config.layers;
  options.max_positions = config.max_positions;
  options.max_step_tokens = kMaxTokens;
  options.max_sequences = kMaxSequences;
  options.max_logits = kMaxTokens;
  options.deterministic = true;
  absl::StatusOr<std::unique_ptr<Backend>> backend = CreateCudaBackend(options);
  KVASIR_CHECK(backend.ok());
  return *std::move(backend);
}

// So far, of whole graphs and one by one. A GPU does not say.
#if defined(KVASIR_SIMT)
constexpr bool kCounted = true;
#else
constexpr bool kCounted = false;
#endif
struct Launches {
  uint64_t graph = 0;
  uint64_t single = 0;
};
Launches CountLaunches() {
#if defined(KVASIR_SIMT)
  const simt::Statistics statistics = simt::ReadStatistics();
  return {statistics.graph_launches, statistics.single_launches};
#else
  return {};
#endif
}

// What a step leaves, as bits.
struct Trace {
  std::vector<uint32_t> logits;
  std::vector<uint16_t> pool;
  Launches launches;
};

// The model, with a pool that looks as if it had been decoding for long.
class Steps {
 public:
  explicit Steps(uint32_t seed)
      : random_(seed),
        config_(SmallModel()),
        backend_(CreateBackend(config_)),
        weights_(RandomWeights(config_, RandomBf16(LargestMatrix(config_)), backend_)) {
    KVASIR_CHECK(backend_.AllocateKv(config_.layers, kBlocks).ok());
    auto model = Qwen3::Create(config_, weights_, backend_, kMaxTokens, kMaxTokens);
    KVASIR_CHECK(model.ok());
    model_ = *std::move(model);
    pool_ = RandomBf16(backend_.KvBlockBytes(config_.layers) * kBlocks / sizeof(uint16_t));
  }

  int Below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

  // Sequences of so many new rows each, with logits for the last of them or for all. The first
  // one has a long context, others are short.
  Batch RandomBatch(const std::vector<int>& rows, bool all_logits) {
    std::vector<int> blocks(kBlocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random_);
    Batch batch;
    batch.Clear();
    batch.max_blocks = (kMaxContext + kBlockTokens - 1) / kBlockTokens;
    size_t next = 0;
    for (size_t s = 0; s < rows.size(); ++s) {
      const int cached = s == 0 ? 500 + Below(560) : Below(40);
      const int context = std::min(cached + rows[s], kMaxContext);
      const size_t first = batch.block_table.size();
      batch.block_table.resize(first + batch.max_blocks, -1);
      for (int b = 0; b * kBlockTokens < context; ++b) {
        batch.block_table[first + b] = blocks.at(next++);
      }
      for (int p = context - rows[s]; p < context; ++p) {
        batch.tokens.push_back(Below(config_.vocab));
        batch.positions.push_back(p);
        batch.slots.push_back(batch.block_table[first + p / kBlockTokens] * kBlockTokens +
                              p % kBlockTokens);
        if (all_logits) batch.logit_rows.push_back(batch.num_tokens() - 1);
      }
      if (!all_logits) batch.logit_rows.push_back(batch.num_tokens() - 1);
      batch.query_start.push_back(batch.num_tokens());
      batch.context_length.push_back(context);
    }
    return batch;
  }

  Trace Run(const Batch& batch, bool graphs) {
    const size_t pool_bytes = pool_.size() * sizeof(uint16_t);
    void* const pool = backend_.Kv(0).data;  // blocks, each with all layers
    backend_.Write(pool, pool_.data(), pool_bytes);
    backend_.set_graphs(graphs);
    const Launches before = CountLaunches();
    const Tensor logits = model_->Forward(batch);
    const Launches after = CountLaunches();
    Trace trace;
    trace.launches = {after.graph - before.graph, after.single - before.single};
    trace.logits.resize(size_t(batch.num_logits()) * logits.cols);
    backend_.Read(trace.logits.data(), logits.data, trace.logits.size() * sizeof(uint32_t));
    trace.pool.resize(pool_.size());
    backend_.Read(trace.pool.data(), pool, pool_bytes);
    return trace;
  }

 private:
  std::mt19937 random_;
  const ModelConfig config_;
  GraphSwitch backend_;
  const Weights weights_;
  std::unique_ptr<Qwen3> model_;
  std::vector<uint16_t> pool_;
};

void ExpectSame(const Trace& graph, const Trace& verbs) {
  EXPECT_TRUE(graph.logits == verbs.logits);
  EXPECT_TRUE(graph.pool == verbs.pool);
}

// Numbers of rows, each after another one: with what is padded, what is full, and more than the
// largest graph has.
TEST(DecodeGraphs, AStepIsOneLaunchAndGivesTheBitsOfItsVerbs) {
  std::vector<int> counts(kMaxSequences);
  std::iota(counts.begin(), counts.end(), 1);
  std::mt19937 random(3);
  size_t wanted = counts.size();  // under the first schedule, fewer under others
  ForEachSchedule([&] {
    Steps steps(1);
    std::shuffle(counts.begin(), counts.end(), random);
    for (size_t i = 0; i < wanted; ++i) {
      SCOPED_TRACE(testing::Message() << counts[i] << " rows");
      const Batch batch = steps.RandomBatch(std::vector<int>(counts[i], 1), false);
      const Trace graph = steps.Run(batch, true);
      const bool recorded = DecodeGraphs::PaddedRows(counts[i], kMaxSequences) > 0;
      EXPECT_EQ(recorded, counts[i] <= 16);
      const Trace verbs = steps.Run(batch, false);
      if (kCounted) {
        EXPECT_EQ(graph.launches.graph, recorded ? 1 : 0);
        EXPECT_EQ(graph.launches.single > 0, !recorded);
        EXPECT_EQ(verbs.launches.graph, 0);
        EXPECT_GT(verbs.launches.single, 0);
      }
      ExpectSame(graph, verbs);
    }
    wanted = 8;
  });
}

// Rows as many as there are logits, or as there are sequences, are no decode by themselves.
TEST(DecodeGraphs, StepsWithPromptsAreNotTakenForRecordedOnes) {
  ForEachSchedule([] {
    Steps steps(2);
    for (const auto& [rows, all_logits] : {std::pair{std::vector{16}, true},
                                           {std::vector{12}, false},
                                           {std::vector{1, 3}, true},
                                           std::pair{std::vector{1, 11, 1}, false},
                                           {std::vector{37, 1, 1}, true}}) {
      SCOPED_TRACE(testing::PrintToString(rows));
      const Batch batch = steps.RandomBatch(rows, all_logits);
      const Trace graph = steps.Run(batch, true);
      ExpectSame(graph, steps.Run(batch, false));
      // A decode after it finds nothing of it.
      const Batch decode = steps.RandomBatch({1, 1, 1}, false);
      const Trace after = steps.Run(decode, true);
      ExpectSame(after, steps.Run(decode, false));
      if (kCounted) {
        EXPECT_EQ(graph.launches.graph, 0);
        EXPECT_EQ(after.launches.graph, 1);
      }
    }
  });
}

TEST(DecodeGraphs, PadsToTheNextRecordedNumberOfRows) {
  for (const auto& [rows, max_rows, padded] : {std::tuple{1, 256, 1},
                                               {3, 256, 4},
                                               {4, 256, 4},
                                               {5, 256, 8},
                                               {33, 256, 48},
                                               std::tuple{193, 256, 256},
                                               {257, 300, 0},
                                               {17, 20, 0},
                                               {13, 16, 16},
                                               {13, 15, 0}}) {
    EXPECT_EQ(DecodeGraphs::PaddedRows(rows, max_rows), padded) << rows << " of " << max_rows;
  }
}

}  // namespace
}  // namespace kvasir::cuda
