#ifndef KVASIR_SERVICES_METRICS_ENDPOINT_H_
#define KVASIR_SERVICES_METRICS_ENDPOINT_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvasir {

// What can be asked over HTTP, without credentials, by whoever reaches the port:
//
//   /metrics  Prometheus text
//   /healthz  200 while the program works, 503 where only a restart helps
//   /readyz   200 while it takes calls; 503 before, while it drains, and where it could do nothing
//
// It answers from Start on, and after StopServing: not ready then, with the metrics as they were at
// last, so that whoever asks a service that ends sees all that it has done.
class MetricsEndpoint {
 public:
  using Metrics = std::vector<std::shared_ptr<prometheus::Collectable>>;

  // `metrics`: until there is a service. Port 0: any that is free.
  // UNAVAILABLE naming the address where it cannot listen.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(const std::string& address,
                                                                Metrics metrics);

  // As StopServing. The port stays taken until the process ends: its library would take up to two
  // seconds to let go of it.
  ~MetricsEndpoint();

  // Called for every question, on the endpoint's threads. Not OK: why not, in words for everybody.
  using Check = std::function<absl::Status()>;
  struct Service {
    Metrics metrics;
    Check healthy;  // may be null
    Check ready;    // may be null
  };
  void Serve(Service service);
  // Not ready any more.
  void Drain();
  // Asks the service for its metrics once more, and for nothing from now on.
  void StopServing();

  // With the port that was bound.
  const std::string& address() const { return address_; }

 private:
  class Server;
  MetricsEndpoint(Server& server, std::string address)
      : server_(server), address_(std::move(address)) {}

  Server& server_;  // until the process ends
  std::string address_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_METRICS_ENDPOINT_H_
