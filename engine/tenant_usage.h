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
// other replicas do to a shared store, and what expires there, is seen when all is counted anew.
class TenantUsage {
 public:
  explicit TenantUsage(const TenantLimits& limits) : limits_(limits) {}

  bool limited() const { return limits_.sessions > 0 || limits_.tokens > 0; }

  // Session `id` has come (1) or gone (-1), and has so many tokens more.
  void Add(const std::string& tenant, const std::string& id, int64_t sessions, int64_t tokens);
  // Whether so much more is within the limits. RESOURCE_EXHAUSTED (QUOTA) naming limit and usage.
  absl::Status Check(const std::string& tenant, int64_t sessions, int64_t tokens) const;
  // How many tokens more are.
  int64_t Room(const std::string& tenant) const;

  // All is counted anew, in the order of ids, while sessions come and go. False: it is being done.
  bool BeginCount();
  void Count(const std::string& tenant, int64_t tokens);
  // All up to this id have been counted: what is added to them from now on, was not seen.
  void HaveCountedTo(const std::string& id) { counted_to_ = id; }
  // All have been counted.
  void EndCount();
  // They could not be: what was known stands.
  void GiveUpCount() { is_counting_ = false; }

 private:
  struct Usage {
    int64_t sessions = 0;
    int64_t tokens = 0;
  };
  Usage UsageOf(const std::string& tenant) const;

  const TenantLimits limits_;
  std::map<std::string, Usage> usage_, counted_;
  bool is_counting_ = false;
  std::string counted_to_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_TENANT_USAGE_H_
