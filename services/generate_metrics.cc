#include "services/generate_metrics.h"

#include "services/request_record.h"

namespace kvasir {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;
using prometheus::Registry;
using Buckets = Histogram::BucketBoundaries;

// As OpenTelemetry asks for them:
// https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
const Buckets kDuration = {0.01, 0.02, 0.04, 0.08,  0.16,  0.32,  0.64,
                           1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92};
const Buckets kTimeToFirstToken = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                   0.25,  0.5,   0.75, 1.0,  2.5,  5.0,  7.5,  10.0};
const Buckets kTimePerOutputToken = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,
                                     0.3,  0.4,   0.5,  0.75,  1.0, 2.5};
// A tiny model's token up to a pause.
const Buckets kInterToken = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05,
                             0.075,  0.1,   0.2,   0.5,   1,    2.5,  10};
const Buckets kPhase = {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300};
const Buckets kTokens = {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144};
// A turn's pause up to a month.
const Buckets kAge = {1,    10,       60,        300,           1800,
                      3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600, 30 * 24 * 3600};

prometheus::Labels GenAiLabels(const std::string& model) {
  return {{"gen_ai_operation_name", "text_completion"},
          {"gen_ai_provider_name", "kvasir"},
          {"gen_ai_request_model", model}};
}

Family<Histogram>& AddGenAi(Registry& registry, const std::string& model, const char* name,
                            const char* help) {
  return BuildHistogram().Name(name).Help(help).Labels(GenAiLabels(model)).Register(registry);
}

Histogram& AddHistogram(Registry& registry, const char* name, const char* help,
                        const Buckets& buckets) {
  return BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

Family<Counter>& AddCounters(Registry& registry, const char* name, const char* help) {
  return BuildCounter().Name(name).Help(help).Register(registry);
}

// Nothing where the call did not come to both.
void Observe(Histogram& histogram, absl::Time from, absl::Time to) {
  if (from == absl::InfinitePast() || to == absl::InfinitePast()) return;
  histogram.Observe(absl::ToDoubleSeconds(to - from));
}

}  // namespace

TenantMetrics::TenantMetrics(Registry& registry)
    : calls_(AddCounters(registry, "kvasir_tenant_calls_total",
                         "Generate calls that found their session, by tenant")),
      computed_(AddCounters(registry, "kvasir_tenant_computed_tokens_total",
                            "Tokens that went through the model, by tenant")),
      generated_(AddCounters(registry, "kvasir_tenant_generated_tokens_total",
                             "Tokens sampled, by tenant")) {}

TenantMetrics::Counters& TenantMetrics::Of(std::string_view tenant) {
  auto found = tenants_.find(tenant);
  if (found == tenants_.end() && tenants_.size() >= kMost) {
    tenant = "other";
    found = tenants_.find(tenant);
  }
  if (found == tenants_.end()) {
    const std::string name(tenant);
    const prometheus::Labels labels = {{"tenant", name}};
    found = tenants_
                .emplace(name, Counters{calls_.Add(labels), computed_.Add(labels),
                                        generated_.Add(labels)})
                .first;
  }
  return found->second;
}

void TenantMetrics::Record(std::string_view tenant, const GenerateReport& report) {
  const std::lock_guard lock(mutex_);
  Counters& counters = Of(tenant);
  counters.calls.Increment();
  counters.computed.Increment(report.computed_tokens);
  counters.generated.Increment(report.generated_tokens);
}

GenerateMetrics::GenerateMetrics(Registry& registry, const std::string& model)
    : duration_(AddGenAi(registry, model, "gen_ai_server_request_duration_seconds",
                         "From a Generate call's arrival until its status was sent")),
      succeeded_(duration_.Add({}, kDuration)),
      time_to_first_token_(AddGenAi(registry, model, "gen_ai_server_time_to_first_token_seconds",
                                    "From a Generate call's arrival until its first token")
                               .Add({}, kTimeToFirstToken)),
      time_per_output_token_(
          AddGenAi(registry, model, "gen_ai_server_time_per_output_token_seconds",
                   "Mean time of a token after the first one, of each call that completed")
              .Add({}, kTimePerOutputToken)),
      inter_token_(AddHistogram(registry, "kvasir_inter_token_latency_seconds",
                                "From one token of a call to its next", kInterToken)),
      queue_(AddHistogram(registry, "kvasir_request_queue_time_seconds",
                          "From a Generate call's arrival until its first step", kPhase)),
      prefill_(AddHistogram(registry, "kvasir_request_prefill_time_seconds",
                            "From a Generate call's first step until its first token", kPhase)),
      decode_(AddHistogram(registry, "kvasir_request_decode_time_seconds",
                           "From a Generate call's first token until its last", kPhase)),
      prompt_tokens_(AddHistogram(registry, "kvasir_request_prompt_tokens",
                                  "Tokens of a Generate call's session and input", kTokens)),
      generation_tokens_(AddHistogram(registry, "kvasir_request_generation_tokens",
                                      "Tokens that a Generate call brought", kTokens)),
      session_age_(AddHistogram(registry, "kvasir_session_age_seconds",
                                "Age of the session that a Generate call continues", kAge)),
      session_idle_(AddHistogram(
          registry, "kvasir_session_idle_seconds",
          "Time since the session that a Generate call continues was used before", kAge)),
      finished_(AddCounters(registry, "kvasir_request_success_total",
                            "Generate calls that completed, by what ended them")),
      tenants_(registry) {}

void GenerateMetrics::RecordStarted(const GenerateStarted& started) {
  if (started.session_age) session_age_.Observe(absl::ToDoubleSeconds(*started.session_age));
  if (started.session_idle) session_idle_.Observe(absl::ToDoubleSeconds(*started.session_idle));
}

void GenerateMetrics::RecordTokens(double seconds, size_t tokens) {
  const double each = seconds / static_cast<double>(tokens);
  for (size_t i = 0; i < tokens; ++i) inter_token_.Observe(each);
}

void GenerateMetrics::RecordReport(std::string_view tenant, const GenerateReport& report) {
  Observe(queue_, report.arrived, report.admitted);
  Observe(prefill_, report.admitted, report.first_token);
  Observe(decode_, report.first_token, report.generated);
  prompt_tokens_.Observe(static_cast<double>(report.prompt_tokens));
  generation_tokens_.Observe(report.generated_tokens);
  tenants_.Record(tenant, report);
  if (!report.finish_reason) return;
  finished_.Add({{"finished_reason", std::string(NameOf(*report.finish_reason))}}).Increment();
  if (report.generated_tokens > 1) {
    time_per_output_token_.Observe(absl::ToDoubleSeconds(report.generated - report.first_token) /
                                   (report.generated_tokens - 1));
  }
}

void GenerateMetrics::RecordEnd(absl::StatusCode code, double seconds) {
  if (code == absl::StatusCode::kOk) {
    succeeded_.Observe(seconds);
  } else {
    duration_.Add({{"error_type", absl::StatusCodeToString(code)}}, kDuration).Observe(seconds);
  }
}

}  // namespace kvasir
