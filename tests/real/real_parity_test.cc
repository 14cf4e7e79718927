// The numerics gate on real weights: KVASIR_MODEL_DIR, and KVASIR_GOLDEN_DIR with what
// compare_with_hf.py wrote for it. bf16: f32 would need twice the model's memory.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "tests/engine/parity/golden.h"
#include "tests/engine/parity/teacher_forcing.h"

namespace kvasir {
namespace {

TEST(RealParity, Bf16IsAsCloseAsTransformersOwn) {
  const char* model = std::getenv("KVASIR_MODEL_DIR");
  const char* folder = std::getenv("KVASIR_GOLDEN_DIR");
  ASSERT_TRUE(model != nullptr && folder != nullptr);
  const Golden golden = ReadGolden("real", folder, model);
  const auto forcing =
      TeacherForcing::Load(golden.model_dir, golden.positions(), CpuChoice(DType::kBf16, "auto"));
  ASSERT_TRUE(forcing.ok()) << forcing.status();
  const Distance distance = (*forcing)->Measure(golden, Cut::kOnePiece);
  std::printf("mean %.1e, %.2f x transformers bf16\n", distance.mean(),
              distance.mean() / golden.bf16_mean);
  EXPECT_TRUE(golden.PassesBf16(distance));
}

}  // namespace
}  // namespace kvasir
