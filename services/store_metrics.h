#ifndef KVASIR_SERVICES_STORE_METRICS_H_
#define KVASIR_SERVICES_STORE_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <atomic>
#include <memory>

#include "engine/journal/session_store.h"

namespace kvasir {

// How long a session store takes, how often it fails, and whether it can be reached.
class StoreMetrics {
 public:
  explicit StoreMetrics(prometheus::Registry& registry);

  // The same store, observed. REQUIRES: this outlives it.
  std::unique_ptr<SessionStore> Observe(std::shared_ptr<SessionStore> store);

  // Whether it did what it was asked last: it is asked every few seconds even where nobody uses it.
  bool reachable() const { return reachable_; }

 private:
  class ObservedStore;

  prometheus::Family<prometheus::Histogram>& seconds_;
  prometheus::Family<prometheus::Counter>& errors_;
  prometheus::Gauge &reachable_gauge_, &sessions_;
  prometheus::Counter& written_bytes_;
  std::atomic<bool> reachable_ = true;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_STORE_METRICS_H_
