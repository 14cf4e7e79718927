// K and V in the host's memory: what decides whether a GPU keeps any there, and that the CPU
// refuses.
#include "engine/host_kv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/engine/engine_harness.h"
#include "tests/engine/random_model.h"

namespace kvasir {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::RandomModel;
using testing::SyncEngine;

TEST(DecideHostKv, TakesWhatIsCheaper) {
  const HostKv on = DecideHostKv({.copying = 190e-6, .computing = 720e-6}, 500);
  EXPECT_EQ(on.blocks, 500);
  EXPECT_EQ(on.reason,
            "a block of 16 tokens is copied there and back in 190 us and computed in "
            "720 us");
  const HostKv off = DecideHostKv({.copying = 1e-3, .computing = 1e-3}, 500);
  EXPECT_EQ(off.blocks, 0);
  EXPECT_NE(off.reason.find("1000 us"), std::string::npos) << off.reason;
}

TEST(HostKv, TheCpuHasNoUseForIt) {
  EngineOptions options = RandomModel::Options();
  options.kv_host_memory = RandomModel::KvBytes({}, 1000);
  const absl::Status refused = Engine::Create(options).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("--kv-host-memory"), HasSubstr("cpu")));
  options.kv_host_memory.reset();  // nobody asked
  SyncEngine engine(options);
  EXPECT_EQ(engine.engine().model_info().kv_host_tokens, 0);
  EXPECT_EQ(engine.engine().model_info().kv_host_reason, "");
}

}  // namespace
}  // namespace kvasir
