#include "tests/engine/random_model.h"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/check.h"
#include "engine/model/config.h"
#include "engine/schedule/scheduler.h"
#include "tests/engine/engine_harness.h"
#include "tests/engine/model/checkpoint_writer.h"
#include "tests/engine/temporary_directory.h"

namespace kvasir::testing {
namespace {

constexpr int kHeadDim = 32;
constexpr int kHidden = 48;
constexpr int kFfn = 80;

ModelConfig ConfigOf(const RandomModel::Shape& shape) {
  return {.layers = shape.layers,
          .hidden = kHidden,
          .ffn = kFfn,
          .vocab = RandomModel::kVocab,
          .heads = shape.heads,
          .kv_heads = shape.kv_heads,
          .head_dim = kHeadDim,
          .rope_theta = 5e6,
          .norm_eps = 1e-6f,
          .max_positions = shape.max_positions,
          .tied_embeddings = true};
}

const char* GpuPlugin() { return std::getenv("KVASIR_TEST_GPU_PLUGIN"); }

}  // namespace

EngineOptions RandomModel::Options(Shape shape) {
  static TemporaryDirectory root;
  const ModelConfig config = ConfigOf(shape);
  const std::filesystem::path dir =
      root.path() /
      absl::StrCat(shape.layers, "-", shape.heads, "-", shape.kv_heads, "-", shape.max_positions);
  if (std::filesystem::create_directory(dir)) {
    WriteFile(dir / "config.json", ConfigJson(config));
    WriteTensors(dir, RandomTensors(config, 20241));
  }
  EngineOptions options;
  options.model_dir = dir;
  options.threads = 2;
  options.kv_memory = KvBytes(shape, shape.kv_tokens);
  options.kv_host_memory = 0;  // an emulated GPU is no measure for the real one's choice
  if (const char* plugin = GpuPlugin()) {
    options.device = "cuda";
    options.gpu_plugin = plugin;
    options.deterministic = std::getenv("KVASIR_TEST_GPU_DEFAULT_MODE") == nullptr;
    // What suits a GPU is much to emulate, above all where it is timed.
    options.max_step_tokens = options.deterministic ? SchedulerLimits{}.max_step_tokens : 64;
    options.max_running = options.deterministic ? SchedulerLimits{}.max_running : 16;
  }
  if (std::getenv("KVASIR_TEST_SESSION_STORE") != nullptr) {
    static std::atomic<int> stores = 0;
    absl::StatusOr<std::unique_ptr<SessionStore>> store =
        OpenSqliteStore((root.path() / absl::StrCat("sessions-", ++stores)).string());
    KVASIR_CHECK(store.ok());
    options.session_store = *std::move(store);
  }
  return options;
}

int64_t RandomModel::KvBytes(Shape shape, int64_t tokens) {
  constexpr int kKAndV = 2;
  constexpr int kBf16Bytes = 2;
  return tokens * shape.layers * shape.kv_heads * kHeadDim * kKAndV * kBf16Bytes;
}

bool RandomModel::OnGpu() { return GpuPlugin() != nullptr; }

bool RandomModel::HasKernel(const std::string& kernel) {
  CpuBackendOptions options;
  options.attention = {
      .heads = 2, .kv_heads = 1, .head_dim = 32, .rope_theta = 1e4, .norm_eps = 1e-6f};
  options.threads = 1;
  options.kernel = kernel;
  return CreateCpuBackend(options).ok();
}

}  // namespace kvasir::testing
