#ifndef KVASIR_SERVICES_ENGINE_METRICS_H_
#define KVASIR_SERVICES_ENGINE_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <vector>

#include "engine/engine.h"

namespace kvasir {

// kvasir_step_seconds, to be fed by Engine::set_step_observer, and kvasir_step_tokens.
class StepMetrics {
 public:
  explicit StepMetrics(prometheus::Registry& registry);

  void Record(double seconds, int tokens);

 private:
  prometheus::Histogram& seconds_;
  prometheus::Histogram& tokens_;
};

// The engine's own figures, read from Engine::stats() at each scrape.
class EngineMetrics : public prometheus::Collectable {
 public:
  // REQUIRES: `engine` outlives this.
  explicit EngineMetrics(const Engine& engine) : engine_(engine) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Engine& engine_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_ENGINE_METRICS_H_
