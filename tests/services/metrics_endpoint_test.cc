// The metrics port: what it answers before, while and after there is a service.
#include "services/metrics_endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/counter.h>
#include <prometheus/registry.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "services/process_metrics.h"
#include "tests/services/raw_call.h"

namespace kvasir {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::HttpGet;
using ::testing::Not;
using ::testing::StartsWith;

std::unique_ptr<MetricsEndpoint> StartEndpoint(MetricsEndpoint::Metrics metrics = {}) {
  auto endpoint = MetricsEndpoint::Start("127.0.0.1:0", std::move(metrics));
  EXPECT_TRUE(endpoint.ok()) << endpoint.status();
  return *std::move(endpoint);
}

std::shared_ptr<prometheus::Registry> Counting(const char* name) {
  auto registry = std::make_shared<prometheus::Registry>();
  prometheus::BuildCounter().Name(name).Register(*registry).Add({}).Increment();
  return registry;
}

TEST(MetricsEndpointTest, AnswersFromBeforeTheServiceUntilAfterIt) {
  const auto endpoint = StartEndpoint({Counting("early_total")});
  const std::string& at = endpoint->address();
  EXPECT_THAT(HttpGet(at, "/healthz"), StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(HttpGet(at, "/readyz"), AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("loading\n")));
  EXPECT_THAT(HttpGet(at, "/metrics"), HasSubstr("early_total 1"));

  endpoint->Serve({.metrics = {Counting("late_total")}, .healthy = nullptr, .ready = nullptr});
  EXPECT_THAT(HttpGet(at, "/readyz"),
              AllOf(StartsWith("HTTP/1.1 200 OK"), HasSubstr("\r\n\r\nok")));
  const std::string metrics = HttpGet(at, "/metrics");
  EXPECT_THAT(metrics, AllOf(HasSubstr("Content-Type: text/plain; version=0.0.4"),
                             HasSubstr("late_total 1"), Not(HasSubstr("early_total"))));

  endpoint->Drain();
  EXPECT_THAT(HttpGet(at, "/healthz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(HttpGet(at, "/readyz"), AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("draining")));
  EXPECT_THAT(HttpGet(at, "/metrics"), HasSubstr("late_total 1"));
  endpoint->StopServing();
  EXPECT_THAT(HttpGet(at, "/readyz"), StartsWith("HTTP/1.1 503 "));
  // The last that is known of the service, which may have gone itself.
  EXPECT_THAT(HttpGet(at, "/metrics"),
              AllOf(StartsWith("HTTP/1.1 200 "), HasSubstr("late_total 1")));
}

TEST(MetricsEndpointTest, ChecksAreAskedEachTime) {
  std::atomic<bool> healthy = true, ready = false;
  const auto endpoint = StartEndpoint();
  const auto check = [](const std::atomic<bool>& good, const char* why) {
    return [&good, why] { return good ? absl::OkStatus() : absl::UnavailableError(why); };
  };
  endpoint->Serve(
      {.metrics = {}, .healthy = check(healthy, "stuck"), .ready = check(ready, "no store")});
  const std::string& at = endpoint->address();
  EXPECT_THAT(HttpGet(at, "/readyz"), AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("no store\n")));
  ready = true;
  EXPECT_THAT(HttpGet(at, "/readyz"), StartsWith("HTTP/1.1 200 "));
  healthy = false;
  EXPECT_THAT(HttpGet(at, "/healthz"), AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("stuck\n")));
}

TEST(MetricsEndpointTest, OtherPathsAreRefused) {
  const auto endpoint = StartEndpoint();
  for (const char* path : {"/", "/metrics2", "/healthz/..", "/etc/passwd", "//etc/passwd"}) {
    EXPECT_THAT(HttpGet(endpoint->address(), path), HasSubstr(" 404 Not Found\r\n")) << path;
  }
}

// A probe must come through while others hold connections open and say nothing.
TEST(MetricsEndpointTest, SilentClientsDoNotKeepAProbeOut) {
  const auto endpoint = StartEndpoint();
  std::vector<testing::Connection> silent;
  for (int i = 0; i < 4; ++i) silent.emplace_back(endpoint->address());
  EXPECT_THAT(HttpGet(endpoint->address(), "/healthz"), StartsWith("HTTP/1.1 200 "));
}

TEST(ProcessMetricsTest, IsPlausible) {
  std::map<std::string, double> values;
  for (const prometheus::MetricFamily& family : ProcessMetrics().Collect()) {
    const prometheus::ClientMetric& metric = family.metric.at(0);
    values[family.name] =
        family.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value;
  }
  EXPECT_GT(values["process_resident_memory_bytes"], 1 << 20);
  EXPECT_GT(values["process_virtual_memory_bytes"], values["process_resident_memory_bytes"]);
  EXPECT_GE(values["process_open_fds"], 3);
  EXPECT_GE(values["process_max_fds"], values["process_open_fds"]);
  EXPECT_GE(values["process_threads"], 1);
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  EXPECT_GT(values["process_start_time_seconds"], now - 86400);
  EXPECT_LE(values["process_start_time_seconds"], now + 2);  // the boot's time is a whole second
  EXPECT_GE(values["process_cpu_seconds_total"], 0);
}

}  // namespace
}  // namespace kvasir
