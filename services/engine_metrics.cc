#include "services/engine_metrics.h"

#include <algorithm>
#include <iterator>
#include <utility>

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
const Histogram::BucketBoundaries kSequences = {1, 2, 4, 8, 16, 32, 64};
// The host's share of a step begins at microseconds.
const Histogram::BucketBoundaries kPhase = {0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003,
                                            0.01,    0.03,    0.1,    0.3,    1,     3};

MetricFamily Figure(const char* name, MetricType type, const char* help, double value) {
  prometheus::ClientMetric metric;
  (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return {name, help, type, {metric}};
}

MetricFamily Counter(const char* name, const char* help, uint64_t value) {
  return Figure(name, MetricType::Counter, help, static_cast<double>(value));
}

MetricFamily Gauge(const char* name, const char* help, int64_t value) {
  return Figure(name, MetricType::Gauge, help, static_cast<double>(value));
}

std::vector<MetricFamily> TokenCounters(const EngineStats& stats) {
  return {
      Counter("kvasir_input_tokens_total", "Tokens that callers sent", stats.input_tokens),
      Counter("kvasir_prompt_tokens_total",
              "Tokens that calls were about: the input, and the sessions that it continues",
              stats.prompt_tokens),
      Counter("kvasir_cached_tokens_total",
              "Tokens of calls that were not computed, their KV being there", stats.cached_tokens),
      Counter("kvasir_computed_tokens_total", "Tokens that went through the model",
              stats.computed_tokens),
      Counter("kvasir_recomputed_tokens_total",
              "Tokens that went through the model again for their session, its blocks being gone",
              stats.recomputed_tokens),
      Counter("kvasir_generated_tokens_total", "Tokens sampled", stats.generated_tokens),
      Counter("kvasir_prefix_cache_queries_total",
              "Tokens that calls looked for in what other sessions have computed",
              stats.prefix_queries),
      Counter("kvasir_prefix_cache_hits_total", "Tokens that calls found there", stats.prefix_hits),
  };
}

std::vector<MetricFamily> CallMetrics(const EngineStats& stats) {
  return {
      Counter("kvasir_steps_total", "Steps of the engine", stats.steps),
      Counter("kvasir_steps_ahead_total", "Steps enqueued before the one before was done",
              stats.steps_ahead),
      Counter("kvasir_paused_calls_total",
              "Times a running call gave up its blocks to an older one", stats.paused_calls),
      Gauge("kvasir_running", "Generate calls that take part in steps", stats.running),
      Gauge("kvasir_queue_length", "Generate calls that wait", stats.waiting),
      Gauge("kvasir_paused", "Generate calls that wait, having given up their blocks to others",
            stats.paused),
      Gauge("kvasir_stalled", "Generate calls whose readers are slow", stats.stalled),
  };
}

std::vector<MetricFamily> SessionMetrics(const EngineStats& stats) {
  const absl::Duration idle =
      stats.least_recent_use ? absl::Now() - *stats.least_recent_use : absl::ZeroDuration();
  return {
      Gauge("kvasir_sessions", "Sessions in memory", stats.sessions),
      Figure("kvasir_session_oldest_idle_seconds", MetricType::Gauge,
             "Since the session in memory was used that nobody has used for longest",
             absl::ToDoubleSeconds(idle)),
      Counter("kvasir_session_moves_total", "Sessions taken over from other replicas",
              stats.session_moves),
      Counter("kvasir_session_store_writes_total", "Sessions written to their store",
              stats.store_writes),
      Counter("kvasir_session_store_commits_total",
              "Groups of session writes, each made durable at once", stats.store_commits),
      Figure("kvasir_session_store_seconds_total", MetricType::Counter,
             "Time spent in groups of session writes", stats.store_seconds),
      Gauge("kvasir_session_store_waiting", "Operations that the store has before it",
            stats.store_waiting),
  };
}

// The parts are as of a second ago at most: they are fitted into what is true now.
MetricFamily KvBlocks(const EngineStats& stats) {
  const int64_t used = stats.kv_blocks_used, total = stats.kv_blocks_total;
  const int64_t running = std::min<int64_t>(stats.kv_usage.running, used);
  const int64_t cached = std::min<int64_t>(stats.kv_usage.cached, total - used);
  MetricFamily family = {"kvasir_kv_blocks",
                         "KV blocks of the pool: of calls that run, of sessions that nobody uses, "
                         "kept for who may ask for their content, free",
                         MetricType::Gauge,
                         {}};
  for (const auto& [state, blocks] :
       {std::pair{"running", running}, std::pair{"idle", used - running},
        std::pair{"cached", cached}, std::pair{"free", total - used - cached}}) {
    prometheus::ClientMetric metric;
    metric.label.push_back({"state", state});
    metric.gauge.value = static_cast<double>(blocks);
    family.metric.push_back(std::move(metric));
  }
  return family;
}

std::vector<MetricFamily> BlockMetrics(const EngineStats& stats) {
  return {
      Counter("kvasir_evicted_blocks_total", "KV blocks taken from idle sessions",
              stats.evicted_blocks),
      Counter("kvasir_saved_blocks_total", "KV blocks copied to the host's memory",
              stats.saved_blocks),
      Counter("kvasir_restored_blocks_total", "KV blocks copied back from there",
              stats.restored_blocks),
      KvBlocks(stats),
  };
}

Histogram& AddHistogram(Registry& registry, const char* name, const char* help,
                        const Histogram::BucketBoundaries& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

Histogram& AddPhase(Registry& registry, const char* phase) {
  return prometheus::BuildHistogram()
      .Name("kvasir_step_phase_seconds")
      .Help("Time of one step of the engine, by what it was spent on")
      .Register(registry)
      .Add({{"phase", phase}}, kPhase);
}

}  // namespace

StepMetrics::StepMetrics(Registry& registry)
    : seconds_(AddHistogram(registry, "kvasir_step_seconds", "Time of one step of the engine",
                            kSeconds)),
      tokens_(AddHistogram(registry, "kvasir_step_tokens",
                           "Tokens computed in one step of the engine", kTokens)),
      sequences_(AddHistogram(registry, "kvasir_step_sequences",
                              "Calls that took part in one step of the engine", kSequences)),
      forward_(AddPhase(registry, "forward")),
      sampling_(AddPhase(registry, "sampling")),
      host_(AddPhase(registry, "host")) {}

void StepMetrics::Record(const StepReport& step) {
  seconds_.Observe(step.seconds());
  tokens_.Observe(step.tokens);
  sequences_.Observe(step.sequences);
  forward_.Observe(step.forward_seconds);
  sampling_.Observe(step.sampling_seconds);
  host_.Observe(step.host_seconds);
}

void RegisterModel(Registry& registry, const ModelInfo& info, absl::Duration load) {
  prometheus::BuildGauge()
      .Name("kvasir_model_info")
      .Help("1; what is served, and on what")
      .Register(registry)
      .Add({{"model", info.model_name},
            {"fingerprint", info.fingerprint},
            {"dtype", info.dtype},
            {"device", info.device},
            {"numerics", info.numerics}})
      .Set(1);
  prometheus::BuildGauge()
      .Name("kvasir_model_load_seconds")
      .Help("How long it took to load the model")
      .Register(registry)
      .Add({})
      .Set(absl::ToDoubleSeconds(load));
}

std::vector<MetricFamily> EngineMetrics::Collect() const {
  const EngineStats stats = engine_.stats();
  std::vector<MetricFamily> all = {
      Figure("kvasir_engine_silent_seconds", MetricType::Gauge,
             "For how long the engine's thread has not answered; 0: it has",
             absl::ToDoubleSeconds(engine_.SilentFor()))};
  for (auto* part : {TokenCounters, CallMetrics, SessionMetrics, BlockMetrics}) {
    std::vector<MetricFamily> families = part(stats);
    all.insert(all.end(), std::make_move_iterator(families.begin()),
               std::make_move_iterator(families.end()));
  }
  return all;
}

}  // namespace kvasir
