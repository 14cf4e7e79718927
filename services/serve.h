#ifndef KVASIR_SERVICES_SERVE_H_
#define KVASIR_SERVICES_SERVE_H_

#include <grpcpp/impl/service_type.h>

#include "services/access_flags.h"
#include "services/metrics_endpoint.h"
#include "services/running_calls.h"
#include "services/service_command.h"
#include "services/stop_signals.h"

namespace kvasir {

struct Served {
  grpc::Service& service;
  const char* service_name;  // as in the proto: package and all
  RunningCalls& calls;
  int max_message_bytes;      // both ways
  MetricsEndpoint* endpoint;  // may be null
  MetricsEndpoint::Service operations;
};

// The second half of both programs: serves on the command's address, which it prints on stdout,
// until a signal stops it. Returns the exit code.
int Serve(const ServiceCommand& command, const AccessFlags& access, const Served& served,
          StopSignals& signals);

}  // namespace kvasir

#endif  // KVASIR_SERVICES_SERVE_H_
