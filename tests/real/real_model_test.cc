// Real weights, where a user has them: KVASIR_MODEL_DIR names a Hugging Face directory.
// real_model.sh runs this, and the parity check and the demo beside it.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/model/config.h"
#include "tests/engine/engine_harness.h"

namespace kvasir {
namespace {

using testing::Outcome;
using testing::SyncEngine;

constexpr int64_t kKvMemory = int64_t{256} << 20;

std::filesystem::path ModelDir() {
  const char* dir = std::getenv("KVASIR_MODEL_DIR");
  return dir == nullptr ? "" : dir;
}

int64_t PeakResidentBytes() {
  struct rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

TEST(RealModel, LoadsWithinOneModelOfMemoryAndContinuesExactly) {
  ASSERT_FALSE(ModelDir().empty()) << "KVASIR_MODEL_DIR is not set";
  const auto json = ReadFile(ModelDir() / "config.json");
  ASSERT_TRUE(json.ok()) << json.status();
  const auto config = ParseModelConfig(*json);
  ASSERT_TRUE(config.ok()) << config.status();
  const int64_t weights_bytes = 2 * ParameterCount(*config);

  EngineOptions options;
  options.model_dir = ModelDir();
  options.dtype = DTypeChoice::kBf16;
  options.kv_memory = kKvMemory;
  SyncEngine engine(options);
  const ModelInfo& info = engine.engine().model_info();
  std::printf("%s: fingerprint %s, %s\n", info.model_name.c_str(), info.fingerprint.c_str(),
              info.numerics.c_str());
  std::printf("peak resident after loading: %.3f x the weights' bf16 bytes\n",
              double(PeakResidentBytes()) / double(weights_bytes));

  // A turn in one call, and the same in two with everything computed anew between them.
  ASSERT_TRUE(engine.Create({.session_id = "base", .initial_ids = {1, 2, 3, 4, 5}}).ok());
  for (const float temperature : {0.0f, 1.0f}) {
    const std::string whole = absl::StrCat("whole", temperature);
    const std::string parts = absl::StrCat("parts", temperature);
    ASSERT_TRUE(engine.Fork("base", whole).ok());
    ASSERT_TRUE(engine.Fork("base", parts).ok());
    const auto speak = [&](const std::string& id, uint32_t n) {
      GenerateRequest request{.session_id = id, .max_new_tokens = n, .ignore_eos = true};
      request.sampling.temperature = temperature;
      const Outcome outcome = engine.Generate(std::move(request));
      EXPECT_TRUE(outcome.status.ok()) << outcome.status;
      return outcome.ids;
    };
    std::vector<int> ids = speak(parts, 8);
    engine.DropIdleBlocks();
    const std::vector<int> rest = speak(parts, 8);
    ids.insert(ids.end(), rest.begin(), rest.end());
    EXPECT_EQ(ids.size(), 16);
    EXPECT_EQ(ids, speak(whole, 16)) << "temperature " << temperature;
  }
  // The program and a step's workspace, which are not small beside a small model.
  constexpr int64_t kProgram = int64_t{128} << 20;
  EXPECT_LE(PeakResidentBytes(), weights_bytes * 1.15 + kKvMemory + kProgram);
}

}  // namespace
}  // namespace kvasir
