// What a tenant may keep.
#include <gtest/gtest.h>

#include <string>

#include "engine/error.h"
#include "tests/engine/engine_harness.h"
#include "tests/engine/random_model.h"

namespace kvasir::testing {
namespace {

EngineOptions Limited(int64_t sessions, int64_t tokens) {
  EngineOptions options = RandomModel::Options();
  options.tenant_limits = {sessions, tokens};
  return options;
}

void ExpectQuota(const absl::Status& status, const std::string& flag) {
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(DetailOf(status).reason, "QUOTA");
  EXPECT_NE(std::string(status.message()).find(flag), std::string::npos) << status;
  EXPECT_TRUE(DetailOf(status).retry_after.has_value());
}

GenerateRequest Ask(const std::string& id, std::vector<int> input, uint32_t count,
                    const std::string& tenant = "") {
  return {.session_id = id,
          .tenant = tenant,
          .input_ids = std::move(input),
          .max_new_tokens = count,
          .ignore_eos = true,
          .create_if_missing = true};
}

TEST(TenantLimits, CountSessionsHoweverTheyComeAndGo) {
  SyncEngine engine(Limited(3, 0));
  ASSERT_TRUE(engine.Create({.session_id = "a", .initial_ids = {1, 2}}).ok());
  ASSERT_TRUE(engine.Fork("a", "b").ok());
  ASSERT_TRUE(engine.Generate(Ask("c", {1}, 1)).status.ok());
  ExpectQuota(engine.Create({.session_id = "d"}).status(), "--max-sessions");
  ExpectQuota(engine.Fork("a", "d").status(), "--max-sessions");
  ExpectQuota(engine.Generate(Ask("d", {1}, 1)).status, "--max-sessions");
  EXPECT_TRUE(engine.Generate(Ask("c", {1}, 1)).status.ok());  // none more
  EXPECT_TRUE(engine.Generate(Ask("", {1}, 1)).status.ok());   // nothing is kept
  // Another tenant has its own.
  EXPECT_TRUE(engine.Create({.session_id = "e", .tenant = "other"}).ok());

  ASSERT_TRUE(engine.Delete("b").ok());
  EXPECT_TRUE(engine.Generate(Ask("d", {1}, 1)).status.ok());
  ExpectQuota(engine.Create({.session_id = "f"}).status(), "--max-sessions");
}

TEST(TenantLimits, CountTokensOfAllSessions) {
  SyncEngine engine(Limited(0, 20));
  ASSERT_TRUE(engine.Create({.session_id = "a", .initial_ids = {1, 2, 3, 4, 5, 6}}).ok());
  ASSERT_TRUE(engine.Generate(Ask("b", {1, 2}, 6)).status.ok());  // 14
  ExpectQuota(engine.Generate(Ask("b", {1, 2}, 5)).status, "--max-session-tokens");
  ASSERT_TRUE(engine.Generate(Ask("b", {1, 2}, 4)).status.ok());  // 20
  ExpectQuota(engine.Create({.session_id = "c", .initial_ids = {1}}).status(),
              "--max-session-tokens");
  ASSERT_TRUE(engine.Truncate("a", 2).ok());  // 16
  EXPECT_TRUE(engine.Create({.session_id = "c", .initial_ids = {1, 2, 3}}).ok());
  ASSERT_TRUE(engine.Delete("b").ok());  // 7
  EXPECT_TRUE(engine.Generate(Ask("c", {1}, 12)).status.ok());
}

TEST(TenantLimits, ARestartCountsWhatIsStored) {
  const EngineOptions options = Limited(2, 0);
  if (options.session_store == nullptr) return;  // run again with one
  {
    SyncEngine engine(options);
    ASSERT_TRUE(engine.Create({.session_id = "a"}).ok());
    ASSERT_TRUE(engine.Create({.session_id = "b"}).ok());
  }
  SyncEngine engine(options);
  (void)engine.Stats();  // the count is asked for before anything else
  ExpectQuota(engine.Create({.session_id = "c"}).status(), "--max-sessions");
}

}  // namespace
}  // namespace kvasir::testing
