#include "tests/engine/backend/cuda/sample_testing.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/backend/cuda/sample_staging.h"
#include "engine/sampler.h"
#include "gtest/gtest.h"
#include "tests/engine/backend/cuda/device_testing.h"

namespace kvasir::cuda {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

int Below(int n, std::mt19937& random) { return static_cast<int>(random() % n); }

std::vector<float> RandomLogits(int vocab, std::mt19937& random) {
  static constexpr float kWidths[] = {1e-4f, 0.1f, 1, 4, 15};
  std::vector<float> logits = NormalFloats(vocab, random(), kWidths[Below(5, random)]);
  const int kind = Below(12, random);
  const float offset = Below(3, random) == 0 ? 20.0f : 0.0f;
  for (float& logit : logits) {
    logit += offset;
    if (kind == 0) logit = offset;                                       // all equal
    if (kind == 1) logit = std::round(logit);                            // ties
    if (kind == 2) logit = Below(30, random) == 0 ? offset + 6 : logit;  // a few equal peaks
    if (kind == 3) logit = Below(2, random) == 0 ? 0.0f : -0.0f;
    if (kind == 4 && Below(4, random) > 0) logit = -kInf;
    if (kind == 5 && Below(50, random) == 0) logit = kNaN;
    if (kind == 6 && Below(vocab, random) == 0) logit = kInf;
    if (kind == 7 && Below(20, random) > 0) logit = kNaN;
  }
  if (kind == 8) std::sort(logits.begin(), logits.end());
  if (kind == 9) std::sort(logits.rbegin(), logits.rend());
  if (kind == 10) logits[Below(vocab, random)] += 30;
  return logits;
}

SamplingParams RandomParams(int vocab, std::mt19937& random) {
  static constexpr float kTemperatures[] = {0, 1e-3f, 0.3f, 0.7f, 1, 1, 2, 20};
  static constexpr float kTopP[] = {1, 1, 1e-6f, 0.3f, 0.8f, 0.95f, 0.9999f};
  static constexpr float kMinP[] = {0, 0, 0, 0.05f, 0.37f, 1e-3f, 1};
  const uint32_t top_k[] = {0, 0, 1, 20, 20, 50, 100, static_cast<uint32_t>(vocab), 1u << 31};
  SamplingParams params;
  params.temperature = kTemperatures[Below(8, random)];
  params.top_k = top_k[Below(9, random)];
  params.top_p = kTopP[Below(7, random)];
  params.min_p = kMinP[Below(7, random)];
  params.seed = uint64_t{random()} << 32 | random();
  if (Below(4, random) == 0) {
    params.repetition_penalty = Below(3, random) == 0 ? 1.0f : 0.5f + 0.25f * Below(5, random);
    params.frequency_penalty = 0.1f * (Below(7, random) - 3);
    params.presence_penalty = 0.3f * (Below(5, random) - 2);
  }
  if (Below(4, random) == 0) {
    for (int i = Below(2 * vocab, random) % 200; i >= 0; --i) {
      const float bias = Below(3, random) == 0 ? 100.0f * (Below(3, random) - 1)
                                               : 0.37f * (Below(21, random) - 10);
      params.logit_bias.emplace_back(Below(vocab, random), bias);
    }
  }
  return params;
}

}  // namespace

SampleCase RandomCase(int vocab, std::mt19937& random) {
  SampleCase c{RandomLogits(vocab, random), RandomParams(vocab, random), {}, random()};
  if (c.params.has_penalties()) {
    const int some = 1 + Below(vocab, random);
    for (int i = Below(600, random); i >= 0; --i) c.history.push_back(Below(some, random));
  }
  const int wish = Below(6, random);
  if (wish == 0) c.top_logprobs = 0;
  if (wish == 1) c.top_logprobs = 1 + Below(kMaxAlternatives, random);
  if (wish == 2) c.top_logprobs = kMaxAlternatives;
  if (wish == 3) c.target = Below(vocab, random);
  return c;
}

std::vector<SampleResult> SampleOnDevice(const std::vector<SampleCase>& cases) {
  const int count = static_cast<int>(cases.size());
  const int vocab = static_cast<int>(cases[0].logits.size());
  std::vector<float> logits;
  for (auto c = cases.rbegin(); c != cases.rend(); ++c) {
    logits.insert(logits.end(), c->logits.begin(), c->logits.end());
  }
  std::vector<SampleRow> rows;
  std::vector<Bias> bias;
  std::vector<int> history;
  for (int r = 0; r < count; ++r) {
    const SamplingParams& params = cases[r].params;
    SampleRow row = WishesOf({.logits_row = count - 1 - r,
                              .params = &params,
                              .position = cases[r].position,
                              .top_logprobs = cases[r].top_logprobs,
                              .target = cases[r].target});
    row.bias_begin = static_cast<int>(bias.size());
    for (const auto& [id, value] : params.logit_bias) bias.push_back({id, value});
    row.bias_end = static_cast<int>(bias.size());
    row.history_begin = static_cast<int>(history.size());
    history.insert(history.end(), cases[r].history.begin(), cases[r].history.end());
    row.history_end = static_cast<int>(history.size());
    rows.push_back(row);
  }
  rows.push_back({.logits_row = -1});
  const size_t all = rows.size();
  const DeviceArray<float> logits_on(logits);
  const DeviceArray<SampleRow> rows_on(rows);
  const DeviceArray<Bias> bias_on(bias);
  const DeviceArray<int> history_on(history);
  const DeviceArray<int> counts(std::vector<int>(all * vocab, 0));
  const DeviceArray<SampleResult> results_on(all);
  const DeviceArray<int> sampled_on(all);
  EXPECT_EQ(Sample({.logits = logits_on.get(),
                    .vocab = vocab,
                    .rows = rows_on.get(),
                    .count = static_cast<int>(all),
                    .bias = bias_on.get(),
                    .history = history_on.get(),
                    .counts = counts.get(),
                    .results = results_on.get(),
                    .sampled = sampled_on.get()},
                   nullptr),
            cudaSuccess);
  std::vector<SampleResult> results = results_on.Read();
  const std::vector<int> sampled = sampled_on.Read();
  const std::vector<int> left = counts.Read();
  EXPECT_EQ(std::count(left.begin(), left.end(), 0), static_cast<ptrdiff_t>(left.size()));
  EXPECT_EQ(results[count].id, -1);  // all bits one, as it was
  EXPECT_EQ(results[count].alternatives, -1);
  EXPECT_EQ(sampled[count], -1);
  results.resize(count);
  for (int r = 0; r < count; ++r) EXPECT_EQ(sampled[r], std::max(results[r].id, 0));
  return results;
}

namespace {

// Relative error of exp(x) in f32 on either side: roundings of the difference, of log2(e), of the
// quotient and of the product, and 2 ulp of the exponential.
double MassError(double x) { return (4 * std::abs(x) + 4) * kF32Rounding; }
constexpr double kMassUnit = 0x1p-44;

// Of the logarithm of the sum, on both sides together.
double LogSumError(const std::vector<float>& logits) {
  const double best = *std::max_element(logits.begin(), logits.end());
  if (!std::isfinite(best)) return 0;  // they are NaN
  double sum = 0;
  double error = 0;
  for (const float logit : logits) {
    const double mass = std::exp(logit - best);
    sum += mass;
    if (mass > 0) error += 2 * mass * MassError(logit - best) + kMassUnit;
  }
  return error / sum;
}

// The chain of engine/sampler.cc again, with the error of every running sum.
bool NearBoundary(const std::vector<float>& logits, const SamplingParams& params,
                  uint64_t position) {
  std::vector<int> order;
  for (int id = 0; id < static_cast<int>(logits.size()); ++id) {
    if (!std::isnan(logits[id])) order.push_back(id);
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  if (order.empty() || !std::isfinite(logits[order[0]])) return false;
  const double best = logits[order[0]];
  size_t kept = order.size();
  if (params.top_k > 0 && params.top_k < kept) {
    kept = params.top_k;
    while (kept < order.size() && logits[order[kept]] == logits[order[kept - 1]]) ++kept;
  }
  std::vector<double> mass(kept), upto(kept + 1, 0.0), error(kept + 1, 0.0);
  for (size_t i = 0; i < kept; ++i) {
    const double x = (logits[order[i]] - best) / params.temperature;
    mass[i] = std::exp(x);
    upto[i + 1] = upto[i] + mass[i];
    error[i + 1] = error[i] + (x == 0 ? 0 : std::min(1.0, MassError(x)) * mass[i] + kMassUnit) +
                   0x1p-52 * upto[i + 1];
  }
  const auto near = [&](size_t i, double threshold, size_t all) {
    return std::abs(upto[i] - threshold) <= error[i] + error[all];
  };
  if (params.top_p < 1) {
    const size_t all = kept;
    const double limit = params.top_p * upto[all];
    for (size_t i = 1; i < all; ++i) {
      if (logits[order[i]] == logits[order[i - 1]]) continue;
      if (near(i, limit, all)) return true;
      if (upto[i] >= limit) {
        kept = i;
        break;
      }
    }
  }
  for (size_t i = 1; i < kept && params.min_p > 0; ++i) {
    if (mass[i] < 1 && std::abs(mass[i] - params.min_p) <= 0x1p-40 * mass[i]) return true;
  }
  while (kept > 1 && mass[kept - 1] < params.min_p) --kept;
  const double threshold = ::kvasir::UniformAt(params.seed, position) * upto[kept];
  for (size_t i = 1; i < kept; ++i) {
    if (near(i, threshold, kept)) return true;
  }
  return false;
}

bool SameLogprob(float value, float expected, double error) {
  if (std::isnan(expected)) return std::isnan(value);
  if (std::isinf(expected)) return value == expected;
  return std::abs(double{value} - expected) <= error + 2 * kF32Rounding * std::abs(expected);
}

}  // namespace

SampleReference SampleOnHost(const SampleCase& c) {
  SampleReference reference;
  SamplerScratch scratch;
  std::vector<float> logits = c.logits;
  const SamplingRow row = {.params = &c.params,
                           .history = c.history,
                           .position = c.position,
                           .top_logprobs = c.top_logprobs,
                           .target = c.target};
  ::kvasir::SampleRow(logits, row, scratch, reference.token);  // changes the logits
  reference.has_nan =
      std::any_of(c.logits.begin(), c.logits.end(), [](float logit) { return std::isnan(logit); });
  if (!reference.has_nan) reference.logprob_error = LogSumError(c.logits);
  reference.near_boundary =
      c.target < 0 && c.params.temperature > 0 && NearBoundary(logits, c.params, c.position);
  return reference;
}

bool ExpectSampled(const SampleResult& result, const SampleReference& reference) {
  const SampledToken& token = reference.token;
  const bool other = result.id != token.id;
  EXPECT_TRUE(!other || reference.near_boundary) << result.id << " for " << token.id;
  if (!other) {
    EXPECT_TRUE(SameLogprob(result.logprob, token.logprob, reference.logprob_error))
        << result.logprob << " for " << token.logprob << ", " << reference.logprob_error;
  }
  EXPECT_EQ(result.alternatives, static_cast<int>(token.alternatives.size()));
  for (size_t i = 0; i < token.alternatives.size(); ++i) {
    EXPECT_TRUE(reference.has_nan || result.alternative_id[i] == token.alternatives[i].id) << i;
    const float expected = reference.has_nan ? kNaN : token.alternatives[i].logprob;
    EXPECT_TRUE(SameLogprob(result.alternative_logprob[i], expected, reference.logprob_error))
        << result.alternative_logprob[i] << " for " << expected;
  }
  return other;
}

}  // namespace kvasir::cuda
