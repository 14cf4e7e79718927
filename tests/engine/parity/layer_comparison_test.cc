#include "tests/engine/parity/layer_comparison.h"

#include <gtest/gtest.h>

#include "tests/engine/parity/mutated_backend.h"

namespace kvasir {
namespace {

std::unique_ptr<TeacherForcing> Load(const Golden& golden, Mutation mutation, int first_layer) {
  auto forcing = TeacherForcing::Load(
      golden.model_dir, golden.positions(), CpuChoice(DType::kF32, "auto"),
      [=](std::unique_ptr<Backend> inner, const ModelConfig& config) {
        return CreateMutatedBackend(std::move(inner), config, mutation, first_layer);
      });
  EXPECT_TRUE(forcing.ok()) << forcing.status();
  return *std::move(forcing);
}

std::string FirstBad(const std::vector<ProbeError>& errors) {
  for (const ProbeError& error : errors) {
    if (!error.good) return error.name;
  }
  return "none";
}

TEST(LayerComparison, NamesTheLayerThatIsWrong) {
  const Golden golden = LoadGolden("deep_f32_untied");
  const std::unique_ptr<TeacherForcing> reference = Load(golden, Mutation::kNone, 0);
  LayerValues right;
  right.tokens = golden.tokens;
  reference->model().set_probe([&right](std::string_view name, Tensor value) {
    const float* data = value.as<float>();
    right.probes[std::string(name)].data.assign(data, data + size_t(value.rows) * value.cols);
  });
  reference->ReadOnePiece(right.tokens);

  const auto first_bad = [&](Mutation mutation, int layer) {
    return FirstBad(CompareLayers(*Load(golden, mutation, layer), DType::kF32, right));
  };
  EXPECT_EQ(first_bad(Mutation::kNone, 0), "none");
  EXPECT_EQ(first_bad(Mutation::kInterleavedPairs, 0), "0.attention");
  EXPECT_EQ(first_bad(Mutation::kHeadNormPlusOne, 5), "5.attention");
  // AddRmsNorm is wrong from the start: what shows first is what attention makes of it.
  EXPECT_EQ(first_bad(Mutation::kNormPlusOne, 0), "0.attention");

  const auto cpu =
      TeacherForcing::Load(golden.model_dir, golden.positions(), CpuChoice(DType::kF32, "auto"));
  ASSERT_TRUE(cpu.ok()) << cpu.status();
  EXPECT_EQ(FirstBad(CompareLayers(**cpu, DType::kF32, right)), "none");
  right.probes.erase("3.mlp");
  EXPECT_EQ(FirstBad(CompareLayers(**cpu, DType::kF32, right)), "3.mlp");
}

}  // namespace
}  // namespace kvasir
