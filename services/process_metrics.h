#ifndef KVASIR_SERVICES_PROCESS_METRICS_H_
#define KVASIR_SERVICES_PROCESS_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

namespace kvasir {

// What Prometheus' client libraries tell of a process, under their names:
// https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
class ProcessMetrics : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_PROCESS_METRICS_H_
