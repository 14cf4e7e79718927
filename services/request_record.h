#ifndef KVASIR_SERVICES_REQUEST_RECORD_H_
#define KVASIR_SERVICES_REQUEST_RECORD_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/schedule/generate_report.h"
#include "services/trace_context.h"

namespace kvasir {

// Who asks for what, and within which trace: known when an RPC arrives, before anything is done
// for it. RunningCalls sets the tenant, which nobody else does.
struct RequestContext {
  std::string_view method;  // a literal
  std::string tenant;       // empty: the default one, whose all calls are that show no key
  std::string peer;         // as gRPC names it: "ipv4:127.0.0.1:40000"
  TraceContext trace;       // of the RPC's own span
  absl::Time arrived;
  std::chrono::steady_clock::time_point begun;  // the same moment
};

// The tenant as logs, spans and metrics name it.
inline std::string_view TenantOf(const RequestContext& context) {
  return context.tenant.empty() ? "default" : std::string_view(context.tenant);
}

// "stop_token" and so on; empty where none is told.
std::string_view NameOf(FinishReason reason);

// What is known of an RPC when its status has been sent: for logs and spans.
struct RequestRecord {
  RequestContext context;
  absl::Status status;
  absl::Duration took;
  std::string session_id;  // as the caller sent it: perhaps none that could be
  std::string request_id;
  // Of a Generate call that had found its session.
  std::optional<GenerateReport> generate;
  // Of text to tokens or back.
  struct Conversion {
    uint64_t bytes = 0, tokens = 0;
  };
  std::optional<Conversion> conversion;
  // What was to be processed, only where prompts are logged: ids, or text.
  std::string prompt;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_REQUEST_RECORD_H_
