#ifndef KVASIR_SERVICES_GENERATE_METRICS_H_
#define KVASIR_SERVICES_GENERATE_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "engine/schedule/request.h"

namespace kvasir {

// What is served to each tenant. Tenants may be very many: those beyond the first kMost share the
// label "other". Thread-safe.
class TenantMetrics {
 public:
  static constexpr size_t kMost = 100;

  explicit TenantMetrics(prometheus::Registry& registry);
  // `tenant`: as TenantOf has it.
  void Record(std::string_view tenant, const GenerateReport& report);

 private:
  struct Counters {
    prometheus::Counter &calls, &computed, &generated;
  };
  Counters& Of(std::string_view tenant);

  prometheus::Family<prometheus::Counter>&calls_, &computed_, &generated_;
  std::mutex mutex_;
  std::map<std::string, Counters, std::less<>> tenants_;  // guarded by mutex_
};

// What callers of Generate feel. The first three histograms are those that OpenTelemetry defines
// for servers of generative models, the others are named as vLLM names its own. Thread-safe.
class GenerateMetrics {
 public:
  GenerateMetrics(prometheus::Registry& registry, const std::string& model);

  void RecordStarted(const GenerateStarted& started);
  // Since the RPC's arrival.
  void RecordFirstToken(double seconds) { time_to_first_token_.Observe(seconds); }
  // `tokens` came together, so long after those before them.
  void RecordTokens(double seconds, size_t tokens);
  void RecordReport(std::string_view tenant, const GenerateReport& report);
  void RecordEnd(absl::StatusCode code, double seconds);

 private:
  prometheus::Family<prometheus::Histogram>& duration_;
  prometheus::Histogram& succeeded_;  // of duration_
  prometheus::Histogram &time_to_first_token_, &time_per_output_token_;
  prometheus::Histogram &inter_token_, &queue_, &prefill_, &decode_;
  prometheus::Histogram &prompt_tokens_, &generation_tokens_;
  prometheus::Histogram &session_age_, &session_idle_;
  prometheus::Family<prometheus::Counter>& finished_;
  TenantMetrics tenants_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_GENERATE_METRICS_H_
