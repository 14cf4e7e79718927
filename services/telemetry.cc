#include "services/telemetry.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/log.h"
#include "services/process_metrics.h"

namespace kvasir {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

ClientMetric Counted(uint64_t value, std::vector<ClientMetric::Label> labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.counter.value = static_cast<double>(value);
  return metric;
}

// What logs and spans lose.
class LossMetrics : public prometheus::Collectable {
 public:
  // `tracer`: may be null.
  explicit LossMetrics(std::shared_ptr<const Tracer> tracer) : tracer_(std::move(tracer)) {}

  std::vector<MetricFamily> Collect() const override {
    std::vector<MetricFamily> families = {{"kvasir_log_lines_dropped_total",
                                           "Lines of the log that stderr did not take",
                                           MetricType::Counter,
                                           {Counted(DroppedLogLines())}}};
    const Tracer::Stats stats = tracer_ != nullptr ? tracer_->stats() : Tracer::Stats();
    families.push_back({"kvasir_spans_exported_total",
                        "Spans that the collector took",
                        MetricType::Counter,
                        {Counted(stats.exported)}});
    families.push_back({"kvasir_spans_dropped_total",
                        "Spans lost: the queue was full, or the collector refused them or could "
                        "not be reached",
                        MetricType::Counter,
                        {Counted(stats.overflowed, {{"reason", "overflow"}}),
                         Counted(stats.rejected, {{"reason", "rejected"}}),
                         Counted(stats.undelivered, {{"reason", "undelivered"}})}});
    return families;
  }

 private:
  const std::shared_ptr<const Tracer> tracer_;
};

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

Tracer::Options TracerOptions(const ServiceCommand& command) {
  const char* service = std::getenv("OTEL_SERVICE_NAME");
  return {.endpoint = command.otlp_endpoint(),
          .resource = {
              {"service.name", service != nullptr && *service != '\0' ? service : command.name()},
              {"service.version", KVASIR_VERSION},
              {"service.instance.id", absl::StrCat(HostName(), ":", getpid())}}};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Telemetry>> Telemetry::Start(const ServiceCommand& command) {
  std::unique_ptr<Telemetry> telemetry(new Telemetry(command));
  if (!command.otlp_endpoint().empty()) {
    absl::StatusOr<std::unique_ptr<Tracer>> tracer = Tracer::Start(TracerOptions(command));
    if (!tracer.ok()) return tracer.status();
    telemetry->tracer_ = *std::move(tracer);
  }
  if (!command.metrics().empty()) {
    absl::StatusOr<std::unique_ptr<MetricsEndpoint>> endpoint =
        MetricsEndpoint::Start(command.metrics(), telemetry->metrics());
    if (!endpoint.ok()) return endpoint.status();
    telemetry->endpoint_ = *std::move(endpoint);
    std::printf("metrics on %s\n", telemetry->endpoint_->address().c_str());
    std::fflush(stdout);
  }
  return telemetry;
}

RequestObservers Telemetry::ObserversOf(const char* service, std::string model) {
  return {.metrics = request_metrics_,
          .log = &request_log_,
          .tracer = tracer_.get(),
          .service = service,
          .model = std::move(model)};
}

MetricsEndpoint::Metrics Telemetry::metrics() const {
  return {registry_, std::make_shared<LossMetrics>(tracer_), std::make_shared<ProcessMetrics>()};
}

}  // namespace kvasir
