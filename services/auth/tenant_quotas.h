#ifndef KVASIR_SERVICES_AUTH_TENANT_QUOTAS_H_
#define KVASIR_SERVICES_AUTH_TENANT_QUOTAS_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "absl/status/status.h"

namespace kvasir {

// Of each tenant; 0: no limit.
struct QuotaLimits {
  int64_t requests_per_minute = 0;
  int64_t tokens_per_minute = 0;
  int64_t concurrent_requests = 0;
  bool operator==(const QuotaLimits&) const = default;
};

// What tenants ask for, held against limits. Rates are token buckets of a minute's worth: after a
// minute's silence that much may come at once. A request's tokens are known when it has ended, so
// they may lead into debt, which is waited off before the next request is taken. Thread-safe.
class TenantQuotas {
 public:
  using Clock = std::chrono::steady_clock;

  explicit TenantQuotas(const QuotaLimits& limits) : limits_(limits) {}

  // A request more. RESOURCE_EXHAUSTED (QUOTA) naming the limit, with the time after which to ask
  // again; then End is not to be called.
  absl::Status Begin(const std::string& tenant, Clock::time_point now);
  // It has ended, and has cost so many tokens.
  void End(const std::string& tenant, uint64_t tokens, Clock::time_point now);

  size_t tenants() const;  // that something is kept of

 private:
  struct Usage {
    double requests = 0, tokens = 0;  // left of the minute's; debts are negative
    Clock::time_point filled;
    int64_t running = 0;
  };
  Usage& UsageOf(const std::string& tenant, Clock::time_point now);
  void Fill(Usage& usage, Clock::time_point now) const;
  // Those that have all they may and run nothing need no place.
  void Forget(Clock::time_point now);

  const QuotaLimits limits_;
  mutable std::mutex mutex_;
  // guarded by mutex_
  std::map<std::string, Usage> usage_;
  size_t forget_at_ = 64;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_AUTH_TENANT_QUOTAS_H_
