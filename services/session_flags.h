#ifndef KVASIR_SERVICES_SESSION_FLAGS_H_
#define KVASIR_SERVICES_SESSION_FLAGS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "engine/engine.h"
#include "services/service_command.h"
#include "services/store_metrics.h"

namespace kvasir {

// Where sessions are kept, and how safely.
class SessionFlags {
 public:
  void AddTo(ServiceCommand& command);
  // Opens the store, observed by new metrics in `registry`. Errors name the flag or the store.
  absl::Status Apply(const ServiceCommand& command, prometheus::Registry& registry,
                     EngineOptions& options);
  // Tells the operator where sessions are, and what is not kept.
  void Log() const;
  // Whether the store can be reached; OK where there is none.
  absl::Status Reachable() const;

 private:
  std::string store_ = "memory";
  std::string durability_ = "turn";
  std::string advertise_;
  double ttl_ = 0;
  int64_t max_sessions_ = 0;
  int64_t max_tokens_ = 0;
  double max_kv_share_ = 1;
  std::shared_ptr<SessionStore> opened_;         // null: memory
  std::shared_ptr<StoreMetrics> store_metrics_;  // null: memory
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_SESSION_FLAGS_H_
