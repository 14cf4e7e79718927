#ifndef KVASIR_ENGINE_TENANT_USAGE_H_
#define KVASIR_ENGINE_TENANT_USAGE_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"

namespace kvasir {

// Of each tenant; 0: no limit.
struct TenantLimits {
  int64_t sessions = 0;
  int64_t tokens = 0;  // of all its sessions together
};

// What tenants keep in their sessions, held against limits. Counts go with what is done here; what
// other replicas do to a shared store is seen when all is counted anew.
class TenantUsage {
 public:
  explicit TenantUsage(const TenantLimits& limits) : limits_(limits) {}

  bool limited() const { return limits_.sessions > 0 || limits_.tokens > 0; }

  void Add(const std::string& tenant, int64_t sessions, int64_t tokens);
  // Whether so much more is within the limits. RESOURCE_EXHAUSTED (QUOTA) naming limit and usage.
  absl::Status Check(const std::string& tenant, int64_t sessions, int64_t tokens) const;

  // Counts anew, a session at a time: what Count is told from StartCount to EndCount takes the
  // place of what was known.
  void StartCount() { counted_.clear(); }
  void Count(const std::string& tenant, int64_t tokens);
  void EndCount() { usage_.swap(counted_); }

 private:
  struct Usage {
    int64_t sessions = 0;
    int64_t tokens = 0;
  };

  const TenantLimits limits_;
  std::map<std::string, Usage> usage_, counted_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_TENANT_USAGE_H_
