#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "engine/error.h"

namespace kvasir {
namespace {

using ::testing::HasSubstr;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

SampledToken Sample(std::vector<float> logits, const SamplingParams& params, uint64_t position = 0,
                    std::vector<int> history = {}, int top_logprobs = -1, int target = -1) {
  SamplerScratch scratch;
  SampledToken out;
  SampleRow(logits,
            {.params = &params,
             .history = history,
             .position = position,
             .top_logprobs = top_logprobs,
             .target = target},
            scratch, out);
  return out;
}

// How often each id is drawn over many positions.
std::map<int, int> Histogram(const std::vector<float>& logits, const SamplingParams& params,
                             int draws) {
  std::map<int, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[Sample(logits, params, i).id];
  return counts;
}

std::vector<int> Ids(const std::map<int, int>& histogram) {
  std::vector<int> ids;
  for (const auto& [id, count] : histogram) ids.push_back(id);
  return ids;
}

TEST(Philox, MatchesThePublishedKnownAnswer) {
  // Random123's kat_vectors, philox4x32 10 rounds, counter 0 and key 0: 6627e8d5 e169c58d ...
  const uint64_t bits = 0xe169c58d6627e8d5;
  EXPECT_EQ(UniformAt(0, 0), static_cast<double>(bits >> 11) * 0x1.0p-53);
}

TEST(Philox, IsUniform) {
  constexpr int kDraws = 100000;
  constexpr int kBins = 20;
  std::vector<int> bins(kBins, 0);
  for (int i = 0; i < kDraws; ++i) ++bins[static_cast<int>(UniformAt(1234, i) * kBins)];
  constexpr double kExpected = double{kDraws} / kBins;
  double chi2 = 0;
  for (int count : bins) chi2 += std::pow(count - kExpected, 2) / kExpected;
  EXPECT_LT(chi2, 43.8);  // 19 degrees of freedom, p = 0.001
}

TEST(Greedy, TakesTheLowestIdOfTies) { EXPECT_EQ(Sample({1, 3, 2, 3}, {.temperature = 0}).id, 1); }

TEST(Greedy, SeesBiasAndPenalties) {
  EXPECT_EQ(Sample({1, 3, 2}, {.temperature = 0, .logit_bias = {{2, 1.5f}}}).id, 2);
  EXPECT_EQ(Sample({1, 3, 2}, {.temperature = 0, .repetition_penalty = 2}, 0, {1}).id, 2);
  // Negative logits are multiplied: a repeated token never gains.
  EXPECT_EQ(Sample({-1, -1.5f}, {.temperature = 0, .repetition_penalty = 2}, 0, {0}).id, 1);
  // Frequency counts every occurrence, presence only one.
  EXPECT_EQ(Sample({3, 2}, {.temperature = 0, .frequency_penalty = 0.4f}, 0, {0, 0}).id, 0);
  EXPECT_EQ(Sample({3, 2}, {.temperature = 0, .frequency_penalty = 0.4f}, 0, {0, 0, 0}).id, 1);
  EXPECT_EQ(Sample({3, 2}, {.temperature = 0, .presence_penalty = 0.9f}, 0, {0, 0, 0}).id, 0);
  EXPECT_EQ(Sample({3, 2}, {.temperature = 0, .presence_penalty = 1.1f}, 0, {0}).id, 1);
}

TEST(TopK, KeepsTiesWithTheKth) {
  EXPECT_EQ(Ids(Histogram({5, 4, 4, 3}, {.temperature = 5, .top_k = 2}, 500)),
            (std::vector{0, 1, 2}));
  EXPECT_EQ(Ids(Histogram({5, 4, 4, 3}, {.temperature = 5, .top_k = 1}, 500)), (std::vector{0}));
}

TEST(TopK, IsThatOfASortWhateverTheOrder) {
  std::mt19937 random(12);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> logits(1 + random() % 2000);
    for (float& logit : logits) {
      logit = static_cast<float>(random() % (1 + random() % 50)) + static_cast<float>(round) / 7;
    }
    if (round % 3 == 0) std::sort(logits.begin(), logits.end());  // every one beats all before
    const uint32_t k = 1 + random() % 60;
    std::vector<float> sorted = logits;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const float threshold = sorted[std::min<size_t>(k, sorted.size()) - 1];
    // Flat at this temperature: what can be drawn is drawn.
    const SamplingParams params = {.temperature = 100, .top_k = k};
    for (int position = 0; position < 40; ++position) {
      ASSERT_GE(logits[Sample(logits, params, position).id], threshold);
    }
  }
}

TEST(TopP, KeepsWhatHasLessThanPAbove) {
  // Probabilities 0.5, 0.25, 0.125, 0.125.
  const std::vector<float> logits = {std::log(4.f), std::log(2.f), 0, 0};
  EXPECT_EQ(Ids(Histogram(logits, {.top_p = 0.4f}, 500)), (std::vector{0}));
  EXPECT_EQ(Ids(Histogram(logits, {.top_p = 0.6f}, 500)), (std::vector{0, 1}));
  // 0.75 of the mass lies strictly above both of the last two: they stand together.
  EXPECT_EQ(Ids(Histogram(logits, {.top_p = 0.8f}, 500)), (std::vector{0, 1, 2, 3}));
  EXPECT_EQ(Ids(Histogram(logits, {.top_p = 1e-9f}, 100)), (std::vector{0}));
}

TEST(MinP, IsRelativeToTheBest) {
  const std::vector<float> logits = {std::log(4.f), std::log(2.f), 0, 0};
  EXPECT_EQ(Ids(Histogram(logits, {.min_p = 0.4f}, 500)), (std::vector{0, 1}));
  EXPECT_EQ(Ids(Histogram(logits, {.min_p = 1}, 100)), (std::vector{0}));
}

TEST(Draw, FollowsTheDistribution) {
  const std::vector<float> logits = {std::log(4.f), std::log(2.f), 0, 0};
  constexpr int kDraws = 40000;
  const std::map<int, int> counts = Histogram(logits, {.seed = 99}, kDraws);
  const double expected[] = {0.5, 0.25, 0.125, 0.125};
  for (int id = 0; id < 4; ++id) {
    const double sigma = std::sqrt(kDraws * expected[id] * (1 - expected[id]));
    EXPECT_NEAR(counts.at(id), kDraws * expected[id], 4 * sigma) << id;
  }
}

// A whole vocabulary without filters: the same as by its definition, ties, zeros of both signs and
// infinities included.
TEST(Draw, OverAllOfALargeVocabularyGoesByTheDefinition) {
  std::mt19937 random(21);
  std::normal_distribution<float> normal;
  std::vector<float> logits(20000);
  for (float& logit : logits) {
    logit = normal(random);
    if (random() % 4 == 0) logit = static_cast<float>(static_cast<int>(4 * logit)) / 4;
    if (random() % 50 == 0) logit = random() % 2 == 0 ? 0.0f : -0.0f;
    if (random() % 50 == 0) logit = -std::numeric_limits<float>::infinity();
  }
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  const double best = logits[order[0]];
  double total = 0;
  for (int id : order) total += std::exp((logits[id] - best) / 0.7f);
  for (uint64_t position = 0; position < 300; ++position) {
    const double left = UniformAt(3, position) * total;
    double so_far = 0;
    int expected = -1;
    for (int id : order) {
      so_far += std::exp((logits[id] - best) / 0.7f);
      if (left < so_far) {
        expected = id;
        break;
      }
    }
    ASSERT_EQ(Sample(logits, {.temperature = 0.7f, .seed = 3}, position).id, expected);
  }
}

TEST(Draw, TemperatureSharpensAndFlattens) {
  const std::vector<float> logits = {1, 0};
  constexpr int kDraws = 40000;
  for (const float t : {0.5f, 1.0f, 2.0f}) {
    const double p = 1 / (1 + std::exp(-1 / t));
    EXPECT_NEAR(Histogram(logits, {.temperature = t}, kDraws)[0], kDraws * p,
                4 * std::sqrt(kDraws * p * (1 - p)));
  }
}

TEST(Draw, IsAFunctionOfSeedAndPosition) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> logits(1000);
  for (float& logit : logits) logit = normal(random);
  const SamplingParams params = {.top_k = 50, .top_p = 0.9f, .seed = 7};
  int differs = 0;
  for (int position = 0; position < 50; ++position) {
    const int id = Sample(logits, params, position).id;
    EXPECT_EQ(id, Sample(logits, params, position).id);
    differs += id != Sample(logits, params, position + 1000).id;
  }
  EXPECT_GT(differs, 25);
}

TEST(Logprobs, AreThoseOfTheRawDistribution) {
  const std::vector<float> logits = {std::log(4.f), std::log(2.f), 0, 0};
  const SamplingParams params = {.temperature = 0, .top_k = 1, .logit_bias = {{3, 50}}};
  const SampledToken out = Sample(logits, params, 0, {}, 3);
  EXPECT_EQ(out.id, 3);
  EXPECT_NEAR(out.logprob, std::log(0.125), 1e-6);
  ASSERT_EQ(out.alternatives.size(), 3);
  EXPECT_EQ(out.alternatives[0].id, 0);
  EXPECT_NEAR(out.alternatives[0].logprob, std::log(0.5), 1e-6);
  EXPECT_EQ(out.alternatives[2].id, 2);  // of the tie, the lower id

  EXPECT_EQ(Sample(logits, params, 0, {}, 0).alternatives.size(), 0);
  EXPECT_NEAR(Sample(logits, params, 0, {}, 0).logprob, std::log(0.125), 1e-6);
  EXPECT_NEAR(Sample(logits, params, 0, {}, -1, 1).logprob, std::log(0.25), 1e-6);
  EXPECT_EQ(Sample(logits, params, 0, {}, 20).alternatives.size(), 4);
}

TEST(Logits, ThatAreNotFiniteAreToldApart) {
  EXPECT_EQ(Sample({kNaN, kNaN}, {}).id, -1);
  EXPECT_EQ(Sample({kNaN, kNaN}, {.temperature = 0}).id, -1);
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Sample({-inf, 1}, {}).id, 1);
}

TEST(Penalties, LeaveTheScratchCleanForTheNextRow) {
  SamplerScratch scratch;
  SampledToken out;
  const SamplingParams params = {.temperature = 0, .presence_penalty = 5};
  const std::vector<int> history = {0};
  std::vector<float> logits = {3, 2};
  SampleRow(logits, {.params = &params, .history = history}, scratch, out);
  EXPECT_EQ(out.id, 1);
  logits = {3, 2};
  SampleRow(logits, {.params = &params}, scratch, out);
  EXPECT_EQ(out.id, 0);
}

TEST(Validate, NamesFieldValueAndLimit) {
  const auto message = [](const SamplingOverrides& overrides) {
    return std::string(ValidateSampling(overrides, 100).message());
  };
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_THAT(message({.temperature = -1.f}), HasSubstr("sampling.temperature: -1"));
  EXPECT_THAT(message({.temperature = 101.f}), HasSubstr("0 to 100"));
  EXPECT_THAT(message({.temperature = kNaN}), HasSubstr("nan"));
  EXPECT_THAT(message({.top_p = 0.f}), HasSubstr("sampling.top_p: 0 is not over 0 to 1"));
  EXPECT_THAT(message({.min_p = 1.5f}), HasSubstr("sampling.min_p"));
  EXPECT_THAT(message({.repetition_penalty = 0.f}), HasSubstr("sampling.repetition_penalty"));
  EXPECT_THAT(message({.frequency_penalty = inf}), HasSubstr("sampling.frequency_penalty"));
  EXPECT_THAT(message({.presence_penalty = -101.f}), HasSubstr("sampling.presence_penalty"));
  EXPECT_THAT(message({.logit_bias = {{100, 1.f}}}), HasSubstr("vocab_size 100"));
  EXPECT_THAT(message({.logit_bias = {{5, kNaN}}}), HasSubstr("sampling.logit_bias[5]"));
  EXPECT_TRUE(ValidateSampling({.temperature = 0.f, .top_k = 7, .top_p = 1.f}, 100).ok());
}

TEST(Merge, TheHigherLevelWinsFieldByField) {
  const SamplingOverrides call = {.temperature = 0.5f, .logit_bias = {{1, 1.f}}};
  const SamplingOverrides session = {.temperature = 0.7f, .top_k = 5, .logit_bias = {{2, 2.f}}};
  const SamplingParams params = Resolve(Merge(call, session));
  EXPECT_EQ(params.temperature, 0.5f);
  EXPECT_EQ(params.top_k, 5);
  EXPECT_EQ(params.top_p, 1.0f);
  ASSERT_EQ(params.logit_bias.size(), 1);  // as a whole map
  EXPECT_EQ(params.logit_bias[0].first, 1);
}

}  // namespace
}  // namespace kvasir
