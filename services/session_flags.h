#ifndef KVASIR_SERVICES_SESSION_FLAGS_H_
#define KVASIR_SERVICES_SESSION_FLAGS_H_

#include <string>

#include "absl/status/status.h"
#include "engine/engine.h"
#include "services/service_command.h"

namespace kvasir {

// Where sessions are kept, and how safely.
class SessionFlags {
 public:
  void AddTo(ServiceCommand& command);
  // Opens the store. Tells the operator what it does not keep. Errors name the flag.
  absl::Status Apply(const ServiceCommand& command, EngineOptions& options) const;

 private:
  std::string store_ = "memory";
  std::string durability_ = "turn";
  std::string advertise_;
  double ttl_ = 0;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_SESSION_FLAGS_H_
