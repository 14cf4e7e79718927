// What is counted of Generate calls, of tenants and of a session store.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/cache/session.h"
#include "services/generate_metrics.h"
#include "services/store_metrics.h"
#include "tests/engine/stored/fault_store.h"
#include "tests/engine/temporary_directory.h"

namespace kvasir {
namespace {

using ::testing::AllOf;
using testing::FaultStore;
using ::testing::HasSubstr;
using ::testing::Not;

class ServiceMetricsTest : public ::testing::Test {
 protected:
  std::string Text() { return prometheus::TextSerializer().Serialize(registry_.Collect()); }

  prometheus::Registry registry_;
};

GenerateReport Report(uint32_t tokens) {
  const absl::Time at = absl::FromUnixSeconds(1000);
  return {.prompt_tokens = 20,
          .input_tokens = 10,
          .cached_tokens = 5,
          .computed_tokens = 15,
          .generated_tokens = tokens,
          .arrived = at,
          .opened = at,
          .admitted = at + absl::Milliseconds(20),
          .first_token = at + absl::Milliseconds(50),
          .generated = at + absl::Milliseconds(450),
          .settled = at + absl::Milliseconds(450),
          .finish_reason = FinishReason::kMaxNewTokens};
}

TEST_F(ServiceMetricsTest, TokensAreTimedOneByOne) {
  GenerateMetrics metrics(registry_, "m");
  metrics.RecordFirstToken(0.03);
  metrics.RecordTokens(0.03, 1);
  metrics.RecordTokens(0.08, 4);  // 0.02 each
  EXPECT_THAT(Text(), AllOf(HasSubstr("kvasir_inter_token_latency_seconds_count 5"),
                            HasSubstr("kvasir_inter_token_latency_seconds_bucket{le=\"0.02\"} 4"),
                            HasSubstr("kvasir_inter_token_latency_seconds_bucket{le=\"0.03\"} 5")));
}

TEST_F(ServiceMetricsTest, PhasesAndMeanTimeOfAToken) {
  GenerateMetrics metrics(registry_, "m");
  metrics.RecordReport("default", Report(5));  // 0.4 s for four tokens
  const std::string labels =
      "{gen_ai_operation_name=\"text_completion\",gen_ai_provider_name=\"kvasir\","
      "gen_ai_request_model=\"m\"";
  const std::string name = "gen_ai_server_time_per_output_token_seconds_bucket";
  EXPECT_THAT(Text(), AllOf(HasSubstr(name + labels + ",le=\"0.075\"} 0"),
                            HasSubstr(name + labels + ",le=\"0.1\"} 1"),
                            HasSubstr("kvasir_request_queue_time_seconds_sum 0.02"),
                            HasSubstr("kvasir_request_prefill_time_seconds_sum 0.03"),
                            HasSubstr("kvasir_request_decode_time_seconds_sum 0.4"),
                            HasSubstr("kvasir_request_prompt_tokens_sum 20")));
  metrics.RecordReport("default", Report(1));  // no token after the first
  EXPECT_THAT(Text(), HasSubstr(absl::StrCat("gen_ai_server_time_per_output_token_seconds_count",
                                             labels, "} 1")));
}

TEST_F(ServiceMetricsTest, ACallThatWasCutOffHasThePhasesThatItCameTo) {
  GenerateMetrics metrics(registry_, "m");
  GenerateReport report = Report(0);
  report.admitted = report.first_token = absl::InfinitePast();
  report.finish_reason = std::nullopt;
  metrics.RecordReport("default", report);
  metrics.RecordEnd(absl::StatusCode::kCancelled, 0.45);
  EXPECT_THAT(Text(), AllOf(HasSubstr("kvasir_request_queue_time_seconds_count 0"),
                            HasSubstr("kvasir_request_decode_time_seconds_count 0"),
                            HasSubstr("kvasir_request_generation_tokens_count 1"),
                            HasSubstr("error_type=\"CANCELLED\""),
                            Not(HasSubstr("kvasir_request_success_total{"))));
}

TEST_F(ServiceMetricsTest, TenantsBeyondTheMostAreOthers) {
  TenantMetrics metrics(registry_);
  for (size_t i = 0; i < TenantMetrics::kMost + 50; ++i) {
    metrics.Record(absl::StrCat("t", i), Report(3));
  }
  metrics.Record("t7", Report(3));
  const std::string text = Text();
  EXPECT_THAT(text, AllOf(HasSubstr("kvasir_tenant_calls_total{tenant=\"t7\"} 2"),
                          HasSubstr("kvasir_tenant_calls_total{tenant=\"t99\"} 1"),
                          Not(HasSubstr("\"t100\"")),
                          HasSubstr("kvasir_tenant_calls_total{tenant=\"other\"} 50"),
                          HasSubstr("kvasir_tenant_generated_tokens_total{tenant=\"other\"} 150")));
}

class StoreMetricsTest : public ServiceMetricsTest {
 protected:
  StoreMetricsTest() {
    auto opened = OpenSqliteStore((directory_.path() / "store").string());
    EXPECT_TRUE(opened.ok()) << opened.status();
    faulty_ = std::make_shared<FaultStore>(*std::move(opened));
    store_ = metrics_.Observe(faulty_);
  }
  absl::Status Create(const std::string& id) {
    SessionWrite write;
    write.kind = SessionWrite::Kind::kCreate;
    write.record.metadata.id = id;
    store_->Write({&write, 1});
    return write.status;
  }

  testing::TemporaryDirectory directory_;
  StoreMetrics metrics_{registry_};
  std::shared_ptr<FaultStore> faulty_;
  std::unique_ptr<SessionStore> store_;
};

TEST_F(StoreMetricsTest, OperationsAreTimedByKind) {
  ASSERT_TRUE(Create("a").ok());
  ASSERT_TRUE(store_->Load("a").ok());
  ASSERT_TRUE(store_->Acquire("a", std::nullopt).ok());
  ASSERT_TRUE(store_->List("", "", 10, {}).ok());
  const std::string text = Text();
  for (const char* operation : {"write", "load", "acquire", "list"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("kvasir_session_store_operation_seconds_count",
                                             "{operation=\"", operation, "\"} 1")));
  }
  EXPECT_THAT(text, HasSubstr("_count{operation=\"renew\"} 0"));
  EXPECT_THAT(text, Not(HasSubstr("kvasir_session_store_written_bytes_total 0")));
  EXPECT_EQ(store_->name(), faulty_->name());
}

TEST_F(StoreMetricsTest, AStoreThatFailsIsNotReachableUntilItDoesWhatItIsAsked) {
  ASSERT_TRUE(Create("a").ok());
  EXPECT_TRUE(metrics_.reachable());
  faulty_->FailAllWrites();
  EXPECT_FALSE(Create("b").ok());
  EXPECT_FALSE(metrics_.reachable());
  EXPECT_THAT(Text(), AllOf(HasSubstr("kvasir_session_store_reachable 0"),
                            HasSubstr("kvasir_session_store_errors_total{operation=\"write\"} 1")));
  faulty_->Heal();
  EXPECT_TRUE(Create("b").ok());
  EXPECT_TRUE(metrics_.reachable());
  faulty_->FailNextAcquire();
  EXPECT_FALSE(store_->Acquire("a", std::nullopt).ok());
  EXPECT_FALSE(metrics_.reachable());
}

TEST_F(StoreMetricsTest, AnAnswerThatIsNoSuccessIsAnAnswer) {
  EXPECT_EQ(store_->Load("none").status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(Create("a").ok());
  EXPECT_FALSE(Create("a").ok());  // taken
  EXPECT_TRUE(metrics_.reachable());
  EXPECT_THAT(Text(), HasSubstr("kvasir_session_store_errors_total{operation=\"write\"} 0"));
}

TEST_F(StoreMetricsTest, SessionsInTheStoreAreCounted) {
  ASSERT_TRUE(Create("a").ok());
  ASSERT_TRUE(Create("b").ok());
  StoreMetrics again(registry_);  // another replica's, at its start
  const auto observed = again.Observe(faulty_);
  EXPECT_THAT(Text(), HasSubstr("kvasir_session_store_sessions 2"));
  EXPECT_EQ(*observed->Size(), 2);
}

}  // namespace
}  // namespace kvasir
