// The numerics gate on a GPU: the whole forward pass against transformers' golden files, however
// the sequence is cut into steps, deterministic and as fast as it goes. Runs in the repository's
// root, which need not be the one it was built in; KVASIR_TEST_GPU_PLUGIN names the GPU's library.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <tuple>

#include "tests/engine/parity/golden.h"
#include "tests/engine/parity/teacher_forcing.h"

namespace kvasir {
namespace {

Golden GoldenHere(const std::string& name) {
  const std::filesystem::path folder = std::filesystem::path("tests/golden") / name;
  const bool own_checkpoint = std::filesystem::exists(folder / "config.json");
  return ReadGolden(name, folder, own_checkpoint ? folder : std::filesystem::path("models") / name);
}

class GpuParity : public testing::TestWithParam<std::tuple<std::string, bool>> {};

TEST_P(GpuParity, HoldsHoweverTheSequenceIsCut) {
  const auto& [name, deterministic] = GetParam();
  const char* plugin = std::getenv("KVASIR_TEST_GPU_PLUGIN");
  ASSERT_NE(plugin, nullptr);
  const Golden golden = GoldenHere(name);
  const absl::StatusOr<std::unique_ptr<TeacherForcing>> forcing =
      TeacherForcing::Load(golden.model_dir, golden.positions(), GpuChoice(plugin, deterministic));
  ASSERT_TRUE(forcing.ok()) << forcing.status();
  double first = 0;
  for (const Cut cut : kCuts) {
    SCOPED_TRACE(NameOf(cut));
    const Distance distance = (*forcing)->Measure(golden, cut);
    std::printf("%-18s %-13s %-13s mean %.1e, %.2f x transformers bf16\n", name.c_str(),
                deterministic ? "deterministic" : "", NameOf(cut), distance.mean(),
                distance.mean() / golden.bf16_mean);
    EXPECT_TRUE(golden.PassesBf16(distance)) << distance.mean() << " " << golden.bf16_mean;
    if (cut == Cut::kOnePiece) first = distance.mean();
    // The same bits, so the same sum of the same terms.
    if (deterministic) {
      EXPECT_EQ(distance.mean(), first);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, GpuParity,
                         testing::Combine(testing::Values("gqa4_bf16_untied", "gqa8_bf16_tied",
                                                          "head128_bf16_tied", "tiny"),
                                          testing::Bool()),
                         [](const auto& info) {
                           return std::get<0>(info.param) +
                                  (std::get<1>(info.param) ? "_deterministic" : "_fast");
                         });

}  // namespace
}  // namespace kvasir
