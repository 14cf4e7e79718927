#include "services/auth/tenant_quotas.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "engine/error.h"

namespace kvasir {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

class TenantQuotasTest : public ::testing::Test {
 protected:
  // "" where the request is taken, else the limit that it is over.
  std::string Begin(TenantQuotas& quotas, const std::string& tenant) {
    const absl::Status status = quotas.Begin(tenant, now_);
    if (status.ok()) return "";
    const ErrorDetail detail = DetailOf(status);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(detail.reason, "QUOTA");
    EXPECT_TRUE(detail.retry_after.has_value());
    retry_after_ = detail.retry_after.value_or(absl::ZeroDuration());
    return detail.metadata.at("quota") + " " + detail.metadata.at("limit");
  }
  // A request that is taken and costs so many tokens.
  std::string Ask(TenantQuotas& quotas, const std::string& tenant, uint64_t tokens = 0) {
    std::string refused = Begin(quotas, tenant);
    if (refused.empty()) quotas.End(tenant, tokens, now_);
    return refused;
  }

  TenantQuotas::Clock::time_point now_ = TenantQuotas::Clock::now();
  absl::Duration retry_after_;
};

TEST_F(TenantQuotasTest, WithoutLimitsAllIsTaken) {
  TenantQuotas quotas({});
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(Ask(quotas, "a", 1'000'000), "");
}

TEST_F(TenantQuotasTest, RequestsAMinute) {
  TenantQuotas quotas({.requests_per_minute = 60});
  for (int i = 0; i < 60; ++i) EXPECT_EQ(Ask(quotas, "a"), "");
  EXPECT_EQ(Ask(quotas, "a"), "requests_per_minute 60");
  EXPECT_EQ(Ask(quotas, "b"), "") << "each tenant has its own";
  // Who waits as long as it is told is taken, and no sooner.
  EXPECT_NEAR(absl::ToDoubleSeconds(retry_after_), 1, 0.01);
  now_ += milliseconds(900);
  EXPECT_EQ(Ask(quotas, "a"), "requests_per_minute 60");
  now_ += absl::ToChronoNanoseconds(retry_after_);
  EXPECT_EQ(Ask(quotas, "a"), "");
  EXPECT_EQ(Ask(quotas, "a"), "requests_per_minute 60");
  // What is refused costs nothing; more than a minute's worth is not saved up.
  for (int i = 0; i < 1000; ++i) EXPECT_NE(Ask(quotas, "a"), "");
  now_ += minutes(10);
  for (int i = 0; i < 60; ++i) EXPECT_EQ(Ask(quotas, "a"), "");
  EXPECT_EQ(Ask(quotas, "a"), "requests_per_minute 60");
}

TEST_F(TenantQuotasTest, TokensAMinute) {
  TenantQuotas quotas({.tokens_per_minute = 6000});
  EXPECT_EQ(Ask(quotas, "a", 5999), "");
  EXPECT_EQ(Ask(quotas, "a", 6001), "") << "known when it has ended";
  EXPECT_EQ(Ask(quotas, "a"), "tokens_per_minute 6000");
  EXPECT_NEAR(absl::ToDoubleSeconds(retry_after_), 60.01, 0.02) << "a debt of 6000";
  now_ += seconds(60);
  EXPECT_EQ(Ask(quotas, "a"), "tokens_per_minute 6000");
  now_ += absl::ToChronoNanoseconds(retry_after_);
  EXPECT_EQ(Ask(quotas, "a", 100), "");
}

TEST_F(TenantQuotasTest, RequestsAtOnce) {
  TenantQuotas quotas({.concurrent_requests = 2});
  EXPECT_EQ(Begin(quotas, "a"), "");
  EXPECT_EQ(Begin(quotas, "a"), "");
  EXPECT_EQ(Begin(quotas, "a"), "concurrent_requests 2");
  EXPECT_EQ(Begin(quotas, "b"), "");
  now_ += minutes(10);
  EXPECT_EQ(Begin(quotas, "a"), "concurrent_requests 2");
  quotas.End("a", 0, now_);
  EXPECT_EQ(Begin(quotas, "a"), "");
}

TEST_F(TenantQuotasTest, ForgetsWhoAsksNoMore) {
  TenantQuotas quotas({.requests_per_minute = 10, .tokens_per_minute = 10});
  EXPECT_EQ(Begin(quotas, "runs"), "");
  EXPECT_EQ(Ask(quotas, "owes", 1'000'000), "");
  for (int i = 0; i < 10'000; ++i) {
    EXPECT_EQ(Ask(quotas, std::to_string(i)), "");
    now_ += seconds(10);
  }
  EXPECT_LT(quotas.tenants(), 200);
  EXPECT_EQ(Ask(quotas, "owes"), "tokens_per_minute 10");
  quotas.End("runs", 0, now_);
}

}  // namespace
}  // namespace kvasir
