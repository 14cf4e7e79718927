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
