#ifndef KVASIR_SERVICES_TELEMETRY_H_
#define KVASIR_SERVICES_TELEMETRY_H_

#include <prometheus/registry.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "services/metrics.h"
#include "services/metrics_endpoint.h"
#include "services/request_log.h"
#include "services/running_calls.h"
#include "services/service_command.h"
#include "services/tracer.h"

namespace kvasir {

// What a service tells of itself besides its answers, as the command line wants it: metrics and
// health over HTTP, lines in the log, spans. Begins before there is anything to serve.
class Telemetry {
 public:
  // Listens on --metrics, and prints the address. Errors name the flag.
  static absl::StatusOr<std::unique_ptr<Telemetry>> Start(const ServiceCommand& command);
  // REQUIRES: all RPCs have ended.
  ~Telemetry() = default;

  const std::shared_ptr<prometheus::Registry>& registry() { return registry_; }
  // `service`: a literal, as in the proto: package and all.
  RequestObservers ObserversOf(const char* service, std::string model = "");
  MetricsEndpoint* endpoint() { return endpoint_.get(); }  // null: --metrics is empty
  // What every service has to tell: the registry among it.
  MetricsEndpoint::Metrics metrics() const;

 private:
  explicit Telemetry(const ServiceCommand& command) : request_log_(command.log_prompts()) {}

  const std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  RequestMetrics request_metrics_{*registry_};
  const RequestLog request_log_;
  std::shared_ptr<Tracer> tracer_;  // null: no collector
  std::unique_ptr<MetricsEndpoint> endpoint_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_TELEMETRY_H_
