// Does the gate notice? Each known way to be subtly wrong is planted in turn; some golden, read in
// some way, must fail. Prints the table of docs/numerics.md.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/engine/parity/golden.h"
#include "tests/engine/parity/mutated_backend.h"
#include "tests/engine/parity/teacher_forcing.h"

namespace kvasir {
namespace {

// The random checkpoints. models/tiny would add minutes and nothing else.
std::vector<Golden> Goldens() {
  std::vector<Golden> goldens;
  for (const std::string& name : GoldenNames()) {
    if (name != "tiny") goldens.push_back(LoadGolden(name));
  }
  return goldens;
}

// One mutation under one dtype: which goldens notice it, by each way of cutting.
struct Findings {
  int failed[std::size(kCuts)] = {};
  double worst = 0;  // f32: max |dlogprob|; bf16: times transformers bf16's distance
  std::string worst_at;
  int total() const { return failed[0] + failed[1] + failed[2]; }
};

Findings Plant(const std::vector<Golden>& goldens, Mutation mutation, DType dtype) {
  Findings findings;
  for (const Golden& golden : goldens) {
    const auto forcing =
        TeacherForcing::Load(golden.model_dir, golden.positions(), CpuChoice(dtype, "auto"),
                             [mutation](std::unique_ptr<Backend> inner, const ModelConfig& config) {
                               return CreateMutatedBackend(std::move(inner), config, mutation);
                             });
    EXPECT_TRUE(forcing.ok()) << forcing.status();
    if (!forcing.ok()) return findings;
    for (size_t i = 0; i < std::size(kCuts); ++i) {
      const Distance distance = (*forcing)->Measure(golden, kCuts[i]);
      const bool f32 = dtype == DType::kF32;
      findings.failed[i] += !(f32 ? golden.PassesF32(distance) : golden.PassesBf16(distance));
      const double by = f32 ? distance.max() : distance.mean() / golden.bf16_mean;
      if (by > findings.worst) {
        findings.worst = by;
        findings.worst_at = golden.name + ", " + NameOf(kCuts[i]);
      }
    }
  }
  return findings;
}

void PrintRow(Mutation mutation, DType dtype, const Findings& findings) {
  const bool f32 = dtype == DType::kF32;
  std::printf("| %s | %d | %d | %d | %.*f%s | %s |\n", NameOf(mutation), findings.failed[0],
              findings.failed[1], findings.failed[2], f32 ? 5 : 2, findings.worst, f32 ? "" : " x",
              findings.worst_at.c_str());
}

class MutationCheck : public testing::TestWithParam<DType> {};

TEST_P(MutationCheck, TheGateNoticesEveryMutation) {
  const std::vector<Golden> goldens = Goldens();
  ASSERT_GE(goldens.size(), 5);
  std::printf(
      "| planted, %s, %zu goldens | %s | %s | %s | worst | where |\n|---|---|---|---|---|---|\n",
      NameOf(GetParam()), goldens.size(), NameOf(kCuts[0]), NameOf(kCuts[1]), NameOf(kCuts[2]));
  const Findings right = Plant(goldens, Mutation::kNone, GetParam());
  PrintRow(Mutation::kNone, GetParam(), right);
  EXPECT_EQ(right.total(), 0) << "the unmutated reference must pass: " << right.worst_at;
  for (const Mutation mutation : kMutations) {
    const Findings findings = Plant(goldens, mutation, GetParam());
    PrintRow(mutation, GetParam(), findings);
    EXPECT_GT(findings.total(), 0) << NameOf(mutation) << " went through the gate";
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, MutationCheck, testing::Values(DType::kF32, DType::kBf16),
                         [](const auto& info) { return std::string(NameOf(info.param)); });

}  // namespace
}  // namespace kvasir
