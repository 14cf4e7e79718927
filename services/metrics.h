#ifndef KVASIR_SERVICES_METRICS_H_
#define KVASIR_SERVICES_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvasir {

// kvasir_requests_total{method,code}, kvasir_request_seconds{method} and kvasir_build_info.
// Thread-safe.
class RequestMetrics {
 public:
  explicit RequestMetrics(prometheus::Registry& registry);

  void Record(std::string_view method, absl::StatusCode code, double seconds);

 private:
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Histogram>& seconds_;
};

// What the tokenizer service turned into what.
class TokenizerMetrics {
 public:
  explicit TokenizerMetrics(prometheus::Registry& registry);

  void RecordEncode(size_t bytes, size_t tokens);
  void RecordDecode(size_t tokens, size_t bytes);

 private:
  prometheus::Counter& encoded_bytes_;
  prometheus::Counter& encoded_tokens_;
  prometheus::Counter& decoded_tokens_;
  prometheus::Counter& decoded_bytes_;
};

// Prometheus text under http://<address>/metrics.
class MetricsEndpoint {
 public:
  // Port 0: any that is free. UNAVAILABLE naming the address where it cannot listen.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(const std::string& address);

  // From now on nothing is read from what was added. The port stays taken until the process ends:
  // its library would take up to two seconds to let go of it.
  ~MetricsEndpoint();

  // REQUIRES: `collectable` outlives this.
  void Add(const std::shared_ptr<prometheus::Collectable>& collectable);
  // With the port that was bound.
  const std::string& address() const { return address_; }

 private:
  MetricsEndpoint(prometheus::Exposer& exposer, std::string address)
      : exposer_(exposer), address_(std::move(address)) {}

  prometheus::Exposer& exposer_;  // until the process ends
  std::vector<std::weak_ptr<prometheus::Collectable>> collectables_;
  std::string address_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_METRICS_H_
