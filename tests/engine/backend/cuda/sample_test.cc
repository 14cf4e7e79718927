#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "engine/backend/cuda/kernels.h"
#include "engine/sampler.h"
#include "tests/engine/backend/cuda/device_testing.h"
#include "tests/engine/backend/cuda/sample_testing.h"

namespace kvasir::cuda {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<SampleCase> RandomCases(int count, int vocab, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<SampleCase> cases;
  for (int i = 0; i < count; ++i) cases.push_back(RandomCase(vocab, random));
  return cases;
}

std::string Describe(const SampleCase& c) {
  const SamplingParams& p = c.params;
  return testing::PrintToString(std::vector<double>{
             p.temperature, double(p.top_k), p.top_p, p.min_p, double(c.target),
             double(c.top_logprobs), double(p.logit_bias.size()), double(c.history.size())}) +
         " are temperature, top_k, top_p, min_p, target, top_logprobs, biases, history";
}

// Returns how many ids differ. Few may: the bound that excuses them is a narrow one.
int ExpectAsOnHost(const std::vector<SampleCase>& cases, const std::vector<SampleResult>& results) {
  int others = 0;
  size_t near = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "row " << i << ": " << Describe(cases[i]));
    const SampleReference reference = SampleOnHost(cases[i]);
    others += ExpectSampled(results[i], reference);
    near += reference.near_boundary;
  }
  EXPECT_LE(near, 3 + cases.size() / 10);
  return others;
}

// What a result says, bit for bit; slots that nothing was written to left out.
std::vector<uint32_t> Bits(const SampleResult& result) {
  std::vector<uint32_t> bits = {static_cast<uint32_t>(result.id),
                                std::bit_cast<uint32_t>(result.logprob),
                                static_cast<uint32_t>(result.alternatives)};
  for (int i = 0; i < result.alternatives; ++i) {
    bits.push_back(static_cast<uint32_t>(result.alternative_id[i]));
    bits.push_back(std::bit_cast<uint32_t>(result.alternative_logprob[i]));
  }
  return bits;
}

// A GPU and an emulator under one schedule see these; the order of threads is the next test's.
TEST(SampleTest, AgreesWithTheCpuOnRandomRows) {
  constexpr int kRows = 32;
  int draws = 0;
  int others = 0;
  const auto check = [&](int vocab, int rounds) {
    for (int round = 0; round < rounds; ++round) {
      const std::vector<SampleCase> cases = RandomCases(kRows, vocab, 1000 * vocab + round);
      others += ExpectAsOnHost(cases, SampleOnDevice(cases));
      draws += kRows;
    }
  };
  check(7, 20);
  check(64, 30);
  check(509, 30);
  check(1536, 30);
  check(4099, 4);
  check(8200, 3);
  EXPECT_LT(others * 1000, draws);
}

TEST(SampleTest, AgreesWithTheCpuOnAWholeVocabulary) {
  const std::vector<SampleCase> cases = RandomCases(24, 151936, 5);
  EXPECT_LE(ExpectAsOnHost(cases, SampleOnDevice(cases)), 1);
}

TEST(SampleTest, DoesNotDependOnTheScheduleNorOnOtherRows) {
  for (const int vocab : {63, 700, 8196}) {
    const std::vector<SampleCase> cases = RandomCases(vocab > 8192 ? 4 : 12, vocab, 77 + vocab);
    const std::vector<SampleResult> expected = SampleOnDevice(cases);
    EXPECT_EQ(ExpectAsOnHost(cases, expected), 0);
    ForEachSchedule([&] {
      const std::vector<SampleResult> results = SampleOnDevice(cases);
      for (size_t i = 0; i < cases.size(); ++i) EXPECT_EQ(Bits(results[i]), Bits(expected[i])) << i;
    });
    for (size_t i = 0; i < cases.size(); i += 4) {
      EXPECT_EQ(Bits(SampleOnDevice({cases[i]})[0]), Bits(expected[i])) << i;
    }
  }
}

// Every thread's share of the row ties with every other's; the tail is drawn from as well.
TEST(SampleTest, TiesGoByIdWhereverTheDrawEnds) {
  ForEachSchedule([] {
    std::vector<SampleCase> cases;
    for (uint64_t position = 0; position < 6; ++position) {
      SampleCase c{.logits = std::vector<float>(1000, 1.5f), .position = position};
      c.logits[400] = 2.5f;
      c.params.top_k = position % 2 == 0 ? 0 : 2;  // the 999 others tie for the second place
      c.params.top_p = position % 3 == 0 ? 1 : 0.9f;
      c.top_logprobs = 20;
      cases.push_back(c);
    }
    EXPECT_EQ(ExpectAsOnHost(cases, SampleOnDevice(cases)), 0);
  });
}

TEST(SampleTest, PenaltiesCountALongHistoryOnce) {
  ForEachSchedule([] {
    std::mt19937 random(3);
    std::vector<SampleCase> cases;
    for (int i = 0; i < 4; ++i) {
      SampleCase c{.logits = NormalFloats(300, i)};
      c.params.temperature = i % 2 == 0 ? 0.0f : 0.8f;
      c.params.repetition_penalty = 1.3f;
      c.params.frequency_penalty = 0.01f;
      c.params.presence_penalty = 0.5f;
      // Ids named by both, and ids that the bias names twice, in an order that rounding shows.
      c.params.logit_bias = {{5, 1.1f}, {7, 1e-8f}, {5, -0.3f}, {9, 100.0f}, {9, -99.7f}};
      for (int k = 0; k < 1500; ++k) c.history.push_back(static_cast<int>(random() % 40));
      c.top_logprobs = 3;
      cases.push_back(c);
    }
    EXPECT_EQ(ExpectAsOnHost(cases, SampleOnDevice(cases)), 0);
  });
}

// Of rows where nothing can be drawn the host is told; the next step embeds some token all the
// same.
TEST(SampleTest, LogitsThatAreNotFiniteAreToldApart) {
  ForEachSchedule([] {
    const auto id = [](std::vector<float> logits, float temperature) {
      SampleCase c{.logits = std::move(logits)};
      c.params.temperature = temperature;
      c.params.top_k = 20;
      c.top_logprobs = 2;
      const SampleResult result = SampleOnDevice({c})[0];
      EXPECT_FALSE(ExpectSampled(result, SampleOnHost(c)));
      return result.id;
    };
    for (const float temperature : {0.0f, 1.0f}) {
      EXPECT_EQ(id({kNaN, kNaN, kNaN}, temperature), -1);
      EXPECT_EQ(id({-kInf, -kInf}, temperature), -1);
      EXPECT_EQ(id({-kInf, kNaN, 1, -kInf}, temperature), 2);
    }
    EXPECT_EQ(id({1, kInf, kInf}, 0), 1);
    EXPECT_EQ(id({1, kInf, kInf}, 1), -1);
  });
}

TEST(SampleTest, RefusesAVocabularyThatItsSumsCannotHold) {
  EXPECT_EQ(Sample({.vocab = (1 << 18) + 1, .count = 1}, nullptr), cudaErrorInvalidValue);
  EXPECT_EQ(Sample({.vocab = 0, .count = 0}, nullptr), cudaSuccess);
}

}  // namespace
}  // namespace kvasir::cuda
