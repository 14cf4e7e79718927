#include "tests/engine/backend/cuda/step_traffic.h"

#include "gtest/gtest.h"

namespace kvasir::cuda {
namespace {

// One layer of Qwen3-4B as it is, with a small vocabulary: the head is a product like the others.
ModelConfig SmallVocabulary(int layers) {
  ModelConfig config = Qwen3Of4B(layers);
  config.vocab = 2048;
  return config;
}

TEST(StepTrafficTest, DecodingReadsTheWeightsOnce) {
  const StepShape shape = {.batch = 1, .rows = 1, .context = 600};
  const Traffic step = CountStep(SmallVocabulary(1), shape);
  const simt::KernelCounts sum = Sum(step);
  const double least = double(LeastBytes(SmallVocabulary(1), shape));
  const double distinct =
      double(sum.distinct_load_sectors + sum.distinct_store_sectors) * simt::kSectorBytes;
  EXPECT_GE(distinct, least);  // or something has not been counted
  EXPECT_LE(distinct, 1.05 * least);
  EXPECT_GE(double(sum.full_load_bytes), 0.95 * double(sum.load_bytes));
  EXPECT_EQ(sum.bank_conflicts, 0);
}

// One layer with attention at its real shape, the rest small.
ModelConfig RealAttention() {
  ModelConfig config = Qwen3Of4B(1);
  config.hidden = config.ffn = config.vocab = 256;
  return config;
}

TEST(StepTrafficTest, NothingConflictsInADecodeOfManyNorInAPrompt) {
  for (const StepShape& shape : {StepShape{.batch = 64, .rows = 1, .context = 130},
                                 StepShape{.batch = 2, .rows = 40, .context = 100},
                                 StepShape{.batch = 1, .rows = 258, .context = 258}}) {
    SCOPED_TRACE(testing::Message() << shape.batch << " x " << shape.rows);
    const Traffic step = CountStep(RealAttention(), shape);
    for (const auto& [name, counts] : step) {
      EXPECT_EQ(counts.bank_conflicts, 0) << name;
      for (const auto& [line, extra] : counts.conflict_lines) ADD_FAILURE() << line << " " << extra;
    }
    EXPECT_GT(Sum(step).shared_wavefronts, 0);
  }
}

// Of a decode that is counted without its matrices.
TEST(StepTrafficTest, AttentionDependsOnHeadsAndContextAlone) {
  const StepShape shape = {.batch = 3, .rows = 1, .context = 600};
  const Traffic step = CountStep(RealAttention(), shape);
  const Traffic same = WithAttention(step, CountAttention(RealAttention(), shape), 1);
  ASSERT_EQ(step.size(), same.size());
  for (const auto& [name, counts] : step) {
    SCOPED_TRACE(name);
    EXPECT_EQ(counts.load_sectors, same.at(name).load_sectors);
    EXPECT_EQ(counts.distinct_load_sectors, same.at(name).distinct_load_sectors);
    EXPECT_EQ(counts.distinct_store_sectors, same.at(name).distinct_store_sectors);
    EXPECT_EQ(counts.full_load_bytes, same.at(name).full_load_bytes);
    EXPECT_EQ(counts.tensor_flops, same.at(name).tensor_flops);
    EXPECT_EQ(counts.launches, same.at(name).launches);
  }
}

TEST(StepTrafficTest, ExtrapolatesALine) {
  Traffic first, last;
  first["a"].load_sectors = 100;
  last["a"].load_sectors = 140;
  last["b"].launches = 4;
  const Traffic far = Extrapolate(first, 2, last, 4, 10);
  EXPECT_EQ(far.at("a").load_sectors, 260);
  EXPECT_EQ(far.at("b").launches, 16);
}

TEST(StepTrafficTest, ALayerIsEightLaunches) {
  const StepShape shape = {.batch = 3, .rows = 1, .context = 20};
  ModelConfig config = {.hidden = 64,
                        .ffn = 64,
                        .vocab = 64,
                        .heads = 4,
                        .kv_heads = 2,
                        .head_dim = 16,
                        .rope_theta = 1e4,
                        .norm_eps = 1e-6f,
                        .max_positions = 64,
                        .tied_embeddings = true};
  config.layers = 1;
  const uint64_t one = Sum(CountStep(config, shape)).launches;
  config.layers = 3;
  const uint64_t three = Sum(CountStep(config, shape)).launches;
  EXPECT_EQ((three - one) / 2, 8);
}

}  // namespace
}  // namespace kvasir::cuda
