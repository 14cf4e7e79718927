// The numerics gate on the emulated GPU: the whole forward pass, kernels and host code, against
// transformers' golden files.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <tuple>
#include <utility>

#include "engine/check.h"
#include "engine/engine.h"
#include "tests/engine/parity/golden.h"
#include "tests/engine/parity/teacher_forcing.h"

namespace kvasir {
namespace {

class EmulatedParity : public testing::TestWithParam<std::tuple<std::string, bool>> {};

// One row a step is slow to emulate, so those see the beginning alone.
constexpr int kSingleTokenPositions = 40;

TEST_P(EmulatedParity, HoldsHoweverTheSequenceIsCut) {
  const auto& [name, deterministic] = GetParam();
  const Golden golden = LoadGolden(name);
  const absl::StatusOr<std::unique_ptr<TeacherForcing>> forcing = TeacherForcing::Load(
      golden.model_dir, golden.positions(),
      GpuChoice(deterministic ? KVASIR_EMULATED_GPU : KVASIR_EMULATED_CUBLASLT_GPU, deterministic));
  ASSERT_TRUE(forcing.ok()) << forcing.status();
  const Distance whole = (*forcing)->Measure(golden, Cut::kOnePiece);
  std::printf("%-18s %-13s one piece: mean %.1e, %.2f x transformers bf16\n", name.c_str(),
              deterministic ? "deterministic" : "default", whole.mean(),
              whole.mean() / golden.bf16_mean);
  EXPECT_TRUE(golden.PassesBf16(whole)) << whole.mean() << " " << golden.bf16_mean;
  const Distance chunks = (*forcing)->Measure(golden, Cut::kChunks);
  EXPECT_TRUE(golden.PassesBf16(chunks)) << chunks.mean();
  const Distance beginning = (*forcing)->Measure(golden, Cut::kOnePiece, kSingleTokenPositions);
  const Distance single = (*forcing)->Measure(golden, Cut::kSingleTokens, kSingleTokenPositions);
  if (!deterministic) return;
  // The same bits, so the same sum of the same terms.
  EXPECT_EQ(chunks.mean(), whole.mean());
  EXPECT_EQ(single.mean(), beginning.mean());
}

INSTANTIATE_TEST_SUITE_P(
    Golden, EmulatedParity,
    testing::Values(std::tuple("gqa4_bf16_untied", true), std::tuple("gqa8_bf16_tied", true),
                    std::tuple("head128_bf16_tied", true), std::tuple("mha_f32_tied", true),
                    std::tuple("tiny", true), std::tuple("gqa8_bf16_tied", false),
                    std::tuple("head128_bf16_tied", false)),
    [](const auto& info) {
      return std::get<0>(info.param) + (std::get<1>(info.param) ? "" : "_default_mode");
    });

TEST(EmulatedGpu, IsTakenByItselfWhereItIsThere) {
  BackendChoice choice = GpuChoice(KVASIR_EMULATED_GPU, false);
  choice.device = "auto";
  choice.gpu.attention = {4, 2, 16, 1e4, 1e-6f};
  choice.gpu.hidden = choice.gpu.ffn = 32;
  choice.gpu.vocab = 40;
  choice.gpu.max_positions = choice.gpu.max_step_tokens = 32;
  choice.gpu.max_sequences = choice.gpu.max_logits = 2;
  absl::StatusOr<OpenedBackend> opened = OpenBackend(choice);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->backend->device(), "Emulated GPU");
  EXPECT_EQ(opened->fallback, "");

  choice.gpu.attention.head_dim = 24;  // not for a GPU: the CPU takes over, and says why
  choice.cpu.attention = choice.gpu.attention;
  choice.cpu.threads = 1;
  opened = OpenBackend(choice);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->backend->device(), "cpu");
  EXPECT_NE(opened->fallback.find("head_dim"), std::string::npos) << opened->fallback;
}

TEST(EmulatedGpu, TheCpuTakesOverWhatDoesNotFit) {
  EngineOptions options;
  options.model_dir = LoadGolden("gqa8_bf16_tied").model_dir;
  options.device = "auto";
  options.gpu_plugin = KVASIR_EMULATED_GPU;
  options.kv_memory = int64_t{5} << 30;  // the emulated GPU has 4 GiB
  const absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(options);
  ASSERT_TRUE(engine.ok()) << engine.status();
  const ModelInfo info = (*engine)->model_info();
  EXPECT_EQ(info.device, "cpu");
  EXPECT_NE(info.device_fallback.find("--kv-memory"), std::string::npos) << info.device_fallback;

  options.device = "cuda";
  EXPECT_EQ(Engine::Create(options).status().code(), absl::StatusCode::kResourceExhausted);
}

// Memory that was there when it was planned may be gone when it is wanted: each allocation in turn
// is the first that fails, on the device and of page-locked memory.
TEST(EmulatedGpu, EveryAllocationMayFail) {
  void* const library = dlopen(KVASIR_EMULATED_GPU, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr);
  auto* const fail_allocation =
      reinterpret_cast<void (*)(int)>(dlsym(library, "simt_fail_allocation"));
  ASSERT_NE(fail_allocation, nullptr);
  EngineOptions options;
  options.model_dir = LoadGolden("gqa8_bf16_tied").model_dir;
  options.gpu_plugin = KVASIR_EMULATED_GPU;
  options.kv_memory = 1 << 20;
  options.kv_host_memory = 0;
  options.max_running = options.max_step_tokens = 2;
  int allocations = 0;
  for (bool failed = true; failed; ++allocations) {
    SCOPED_TRACE(allocations);
    ASSERT_LT(allocations, 1000);
    options.device = "cuda";
    fail_allocation(allocations);
    const absl::Status status = Engine::Create(options).status();
    failed = !status.ok();
    options.device = "auto";
    fail_allocation(allocations);
    const absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(options);
    fail_allocation(-1);
    ASSERT_TRUE(engine.ok()) << engine.status();
    EXPECT_EQ((*engine)->model_info().device, failed ? "cpu" : "Emulated GPU");
    if (!failed) break;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    const std::string fallback = (*engine)->model_info().device_fallback;
    EXPECT_NE(std::string(status.message()).find(fallback), std::string::npos) << status;
    EXPECT_EQ(fallback.find('\n'), std::string::npos) << fallback;
  }
  EXPECT_GT(allocations, 30);  // at least one for each matrix
}

TEST(EmulatedGpu, WithoutOtherWishesStepsAreLargerThanOnACpu) {
  EngineOptions options;
  options.model_dir = LoadGolden("gqa8_bf16_tied").model_dir;
  options.gpu_plugin = KVASIR_EMULATED_GPU;
  options.kv_memory = 1 << 20;
  options.kv_host_memory = 0;
  const auto limits = [&](const char* device) {
    options.device = device;
    const absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(options);
    KVASIR_CHECK(engine.ok());
    const ModelInfo& info = (*engine)->model_info();
    return std::pair(info.max_running, info.max_step_tokens);
  };
  EXPECT_EQ(limits("cuda"), std::pair(256, 2048));
  EXPECT_EQ(limits("cpu"), std::pair(64, 512));
  options.max_running = 3;
  options.max_step_tokens = 100;
  EXPECT_EQ(limits("cuda"), std::pair(3, 100));
  EXPECT_EQ(limits("cpu"), std::pair(3, 100));
}

TEST(EmulatedGpu, RefusesModelsThatItDoesNotCompute) {
  for (const auto& [name, field] :
       {std::pair{"gqa4_f16_sharded", "head_dim"}, std::pair{"deep_f32_untied", "head_dim"}}) {
    const Golden golden = LoadGolden(name);
    const absl::Status status =
        TeacherForcing::Load(golden.model_dir, 8, GpuChoice(KVASIR_EMULATED_GPU, true)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(std::string(status.message()).find(field), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace kvasir
