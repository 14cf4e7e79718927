// The numerics gate: Kvasir against Hugging Face transformers, by golden files.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "tests/engine/backend/cpu_backend_testing.h"
#include "tests/engine/parity/golden.h"
#include "tests/engine/parity/teacher_forcing.h"

namespace kvasir {
namespace {

// What the gate must look at to be worth passing.
TEST(GoldenFiles, CoverWhatTheFamilyVaries) {
  std::set<int> groups;
  std::set<double> thetas;
  std::set<bool> tied;
  std::set<DType> dtypes;
  int odd_layers = 0, odd_vocabularies = 0, own_head_dim = 0;
  const std::vector<std::string> names = GoldenNames();
  for (const std::string& name : names) {
    const Golden golden = LoadGolden(name);
    EXPECT_GE(golden.positions(), 600) << name;
    // transformers' own fp32 must leave room for ours.
    EXPECT_LT(golden.exact_max, kF32Tolerance / 2) << name;
    EXPECT_GT(golden.bf16_mean, 0) << name;
    const absl::StatusOr<std::string> json = ReadFile(golden.model_dir / "config.json");
    ASSERT_TRUE(json.ok()) << json.status();
    const absl::StatusOr<ModelConfig> config = ParseModelConfig(*json);
    ASSERT_TRUE(config.ok()) << config.status();
    groups.insert(config->heads / config->kv_heads);
    thetas.insert(config->rope_theta);
    tied.insert(config->tied_embeddings);
    dtypes.insert(config->dtype);
    odd_layers += config->layers % 2;
    odd_vocabularies += config->vocab % 2;
    own_head_dim += config->head_dim * config->heads != config->hidden;
  }
  for (const int group : {1, 4, 8}) EXPECT_TRUE(groups.contains(group)) << group;
  for (const double theta : {1e4, 1e6, 5e6}) EXPECT_TRUE(thetas.contains(theta)) << theta;
  EXPECT_EQ(tied.size(), 2);
  EXPECT_EQ(dtypes.size(), 3);
  EXPECT_GT(odd_layers, 0);
  EXPECT_GT(odd_vocabularies, 0);
  EXPECT_GT(own_head_dim, 0);
  EXPECT_TRUE(std::ranges::count(names, "tiny")) << "tests/golden/make_golden.py tiny";
}

TEST(Gate, NanAndMissingEntriesNeverPass) {
  Golden golden = LoadGolden("gqa4_bf16_untied");
  const auto compare = [&golden](float spoilt, int positions) {
    Distance distance;
    for (int p = 0; p < positions; ++p) {
      for (int e = 0; e < golden.entries; ++e) {
        const float value = golden.logprobs[size_t(p) * golden.entries + e];
        distance.Add(p == 3 && e == 0 ? value + spoilt : value,
                     golden.logprobs[size_t(p) * golden.entries + e]);
      }
    }
    return distance;
  };
  const Distance exact = compare(0, golden.positions());
  EXPECT_TRUE(golden.PassesF32(exact));
  EXPECT_TRUE(golden.PassesBf16(exact));
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const Distance spoilt = compare(bad, golden.positions());
    EXPECT_FALSE(golden.PassesF32(spoilt));
    EXPECT_FALSE(golden.PassesBf16(spoilt));
  }
  EXPECT_FALSE(golden.PassesF32(compare(3e-4f, golden.positions())));
  const Distance missing = compare(0, golden.positions() - 1);
  EXPECT_FALSE(golden.PassesF32(missing));
  EXPECT_FALSE(golden.PassesBf16(missing));

  // A NaN among the logits reaches every log-probability.
  std::vector<float> logits(1000, 1.0f);
  logits[999] = std::numeric_limits<float>::quiet_NaN();
  Distance distance;
  golden.Compare(0, logits, distance);
  EXPECT_EQ(distance.max(), std::numeric_limits<double>::infinity());
}

class Parity : public testing::TestWithParam<std::tuple<std::string, Numerics>> {};

TEST_P(Parity, HoldsHoweverTheSequenceIsCut) {
  const auto& [name, numerics] = GetParam();
  const auto& [kernel, dtype] = numerics;
  const Golden golden = LoadGolden(name);
  const absl::StatusOr<std::unique_ptr<TeacherForcing>> forcing =
      TeacherForcing::Load(golden.model_dir, golden.positions(), CpuChoice(dtype, kernel));
  ASSERT_TRUE(forcing.ok()) << forcing.status();
  double one_piece_mean = 0;
  for (const Cut cut : kCuts) {
    const Distance distance = (*forcing)->Measure(golden, cut);
    std::printf("%-18s %-10s %-4s %-13s max %.1e mean %.1e, %.2f x transformers bf16\n",
                name.c_str(), kernel.c_str(), NameOf(dtype), NameOf(cut), distance.max(),
                distance.mean(), distance.mean() / golden.bf16_mean);
    EXPECT_TRUE(dtype == DType::kF32 ? golden.PassesF32(distance) : golden.PassesBf16(distance))
        << NameOf(cut) << ": max " << distance.max() << ", mean " << distance.mean()
        << ", transformers bf16 " << golden.bf16_mean
        << "; compare_layers (docs/numerics.md) finds the layer"
        << (name == "tiny" ? "; trained anew? then tests/golden/make_golden.py tiny" : "");
    // The same bits however the sequence is cut, so the same sum of the same terms.
    if (cut == Cut::kOnePiece) one_piece_mean = distance.mean();
    EXPECT_EQ(distance.mean(), one_piece_mean) << NameOf(cut);
  }
}

std::string TestName(const testing::TestParamInfo<Parity::ParamType>& info) {
  const auto& [name, numerics] = info.param;
  return name + "_" + testing::PrintToString(numerics);
}

INSTANTIATE_TEST_SUITE_P(Golden, Parity,
                         testing::Combine(testing::ValuesIn(GoldenNames()),
                                          testing::ValuesIn(AvailableNumerics())),
                         TestName);

// Where this CPU has no kernel set, nothing was checked.
TEST(Kernels, ThereAreSomeForEachDtype) {
  EXPECT_FALSE(AvailableKernels(DType::kF32).empty());
  EXPECT_FALSE(AvailableKernels(DType::kBf16).empty());
}

}  // namespace
}  // namespace kvasir
