#include "services/running_calls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <string>
#include <utility>

#include "engine/error.h"

namespace kvasir {
namespace {

using ::testing::HasSubstr;

class RunningCallsTest : public ::testing::Test {
 protected:
  RunningCall Begin() {
    absl::StatusOr<RunningCall> call = calls_.Begin("Encode", context_);
    EXPECT_TRUE(call.ok()) << call.status();
    return *std::move(call);
  }
  std::string Metrics() { return prometheus::TextSerializer().Serialize(registry_.Collect()); }

  prometheus::Registry registry_;
  RequestMetrics metrics_{registry_};
  RunningCalls calls_{RequestObservers{metrics_}};
  grpc::CallbackServerContext context_;
};

TEST_F(RunningCallsTest, CountsByMethodAndCode) {
  Begin().End(absl::OkStatus());
  Begin().End(absl::OkStatus());
  Begin().End(absl::NotFoundError("no"));
  const std::string text = Metrics();
  EXPECT_THAT(text, HasSubstr("kvasir_requests_total{code=\"OK\",method=\"Encode\"} 2"));
  EXPECT_THAT(text, HasSubstr("kvasir_requests_total{code=\"NOT_FOUND\",method=\"Encode\"} 1"));
  EXPECT_THAT(text, HasSubstr("kvasir_request_seconds_count{method=\"Encode\"} 3"));
}

TEST_F(RunningCallsTest, IdleAtOnceWhereNothingRuns) {
  bool idle = false;
  calls_.Drain([&] { idle = true; });
  EXPECT_TRUE(idle);
}

TEST_F(RunningCallsTest, DrainingRefusesNewCallsAndWaitsForRunningOnes) {
  RunningCall first = Begin();
  RunningCall second = Begin();
  int idle = 0;
  calls_.Drain([&] { ++idle; });
  const absl::Status refused = calls_.Begin("Encode", context_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(DetailOf(refused).reason, "DRAINING");
  EXPECT_THAT(Metrics(),
              HasSubstr("kvasir_requests_total{code=\"UNAVAILABLE\",method=\"Encode\"} 1"));

  RunningCall moved = std::move(first);
  second.End(absl::OkStatus());
  EXPECT_EQ(idle, 0);
  moved.End(absl::OkStatus());
  EXPECT_EQ(idle, 1);
}

TEST_F(RunningCallsTest, QuotasHoldWhileCallsRunAndForWhatTheyCost) {
  TenantQuotas quotas({.tokens_per_minute = 100, .concurrent_requests = 1});
  RunningCalls calls(RequestObservers{metrics_}, {.quotas = &quotas});
  absl::StatusOr<RunningCall> first = calls.Begin("Generate", context_);
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Status second = calls.Begin("Generate", context_).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(DetailOf(second).reason, "QUOTA");
  EXPECT_EQ(DetailOf(second).metadata.at("quota"), "concurrent_requests");
  first->record().generate = GenerateReport{.computed_tokens = 60};
  first->End(absl::OkStatus());
  absl::StatusOr<RunningCall> third = calls.Begin("Encode", context_);
  ASSERT_TRUE(third.ok()) << third.status();
  third->record().conversion = RequestRecord::Conversion{.bytes = 1, .tokens = 60};
  third->End(absl::CancelledError("gone"));
  const absl::Status fourth = calls.Begin("Encode", context_).status();
  EXPECT_EQ(DetailOf(fourth).metadata.at("quota"), "tokens_per_minute");
  EXPECT_THAT(Metrics(), HasSubstr("code=\"RESOURCE_EXHAUSTED\",method=\"Generate\"} 1"));
}

}  // namespace
}  // namespace kvasir
