#ifndef KVASIR_SERVICES_ENGINE_METRICS_H_
#define KVASIR_SERVICES_ENGINE_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <vector>

#include "absl/time/time.h"
#include "engine/engine.h"

namespace kvasir {

// kvasir_step_seconds and what else there is to say of steps, to be fed by
// Engine::set_step_observer.
class StepMetrics {
 public:
  explicit StepMetrics(prometheus::Registry& registry);

  void Record(const StepReport& step);

 private:
  prometheus::Histogram &seconds_, &tokens_, &sequences_;
  prometheus::Histogram &forward_, &sampling_, &host_;
};

// kvasir_model_info and kvasir_model_load_seconds.
void RegisterModel(prometheus::Registry& registry, const ModelInfo& info, absl::Duration load);

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
