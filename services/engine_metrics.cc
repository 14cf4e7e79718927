#include "services/engine_metrics.h"

namespace kvasir {
namespace {

using prometheus::Histogram;
using prometheus::MetricFamily;
using prometheus::MetricType;
using prometheus::Registry;

// From a tiny model's step to a full chunk of a large one's prompt.
const Histogram::BucketBoundaries kSeconds = {0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01,
                                              0.02,   0.05,   0.1,    0.2,   0.5,   1,     2};
const Histogram::BucketBoundaries kTokens = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};

MetricFamily Figure(const char* name, MetricType type, const char* help, double value) {
  prometheus::ClientMetric metric;
  (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return {name, help, type, {metric}};
}

}  // namespace

StepMetrics::StepMetrics(Registry& registry)
    : seconds_(prometheus::BuildHistogram()
                   .Name("kvasir_step_seconds")
                   .Help("Time of one step of the engine")
                   .Register(registry)
                   .Add({}, kSeconds)),
      tokens_(prometheus::BuildHistogram()
                  .Name("kvasir_step_tokens")
                  .Help("Tokens computed in one step of the engine")
                  .Register(registry)
                  .Add({}, kTokens)) {}

void StepMetrics::Record(double seconds, int tokens) {
  seconds_.Observe(seconds);
  tokens_.Observe(tokens);
}

std::vector<MetricFamily> EngineMetrics::Collect() const {
  constexpr MetricType kCounter = MetricType::Counter;
  constexpr MetricType kGauge = MetricType::Gauge;
  const EngineStats stats = engine_.stats();
  return {
      Figure("kvasir_input_tokens_total", kCounter, "Tokens that callers sent",
             static_cast<double>(stats.input_tokens)),
      Figure("kvasir_cached_tokens_total", kCounter,
             "Tokens of calls that were not computed, their KV being there",
             static_cast<double>(stats.cached_tokens)),
      Figure("kvasir_computed_tokens_total", kCounter, "Tokens that went through the model",
             static_cast<double>(stats.computed_tokens)),
      Figure("kvasir_generated_tokens_total", kCounter, "Tokens sampled",
             static_cast<double>(stats.generated_tokens)),
      Figure("kvasir_steps_total", kCounter, "Steps of the engine",
             static_cast<double>(stats.steps)),
      Figure("kvasir_steps_ahead_total", kCounter,
             "Of those, enqueued before the one before was done",
             static_cast<double>(stats.steps_ahead)),
      Figure("kvasir_session_moves_total", kCounter, "Sessions taken over from other replicas",
             static_cast<double>(stats.session_moves)),
      Figure("kvasir_session_store_writes_total", kCounter, "Sessions written to their store",
             static_cast<double>(stats.store_writes)),
      Figure("kvasir_session_store_commits_total", kCounter,
             "Groups of them, each made durable at once", static_cast<double>(stats.store_commits)),
      Figure("kvasir_session_store_seconds_total", kCounter, "Time spent in those",
             stats.store_seconds),
      Figure("kvasir_session_store_waiting", kGauge, "Operations that the store has before it",
             static_cast<double>(stats.store_waiting)),
      Figure("kvasir_evicted_blocks_total", kCounter, "KV blocks taken from idle sessions",
             static_cast<double>(stats.evicted_blocks)),
      Figure("kvasir_saved_blocks_total", kCounter, "KV blocks copied to the host's memory",
             static_cast<double>(stats.saved_blocks)),
      Figure("kvasir_restored_blocks_total", kCounter, "KV blocks copied back from there",
             static_cast<double>(stats.restored_blocks)),
      Figure("kvasir_paused_calls_total", kCounter,
             "Times a running call gave up its blocks to an older one",
             static_cast<double>(stats.paused_calls)),
      Figure("kvasir_sessions_in_memory", kGauge,
             "Sessions in memory; a session store may keep more",
             static_cast<double>(stats.sessions)),
      Figure("kvasir_running", kGauge, "Generate calls that take part in steps",
             static_cast<double>(stats.running)),
      Figure("kvasir_queue_length", kGauge, "Generate calls that wait",
             static_cast<double>(stats.waiting)),
      Figure("kvasir_kv_blocks_used", kGauge, "KV blocks that hold tokens",
             static_cast<double>(stats.kv_blocks_used)),
      Figure("kvasir_kv_blocks_total", kGauge, "KV blocks of the pool",
             static_cast<double>(stats.kv_blocks_total)),
  };
}

}  // namespace kvasir
