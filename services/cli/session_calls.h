#ifndef KVASIR_SERVICES_CLI_SESSION_CALLS_H_
#define KVASIR_SERVICES_CLI_SESSION_CALLS_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kvasir/v1/model.grpc.pb.h"

namespace kvasir::cli {

// The header by which a proxy sends all calls of a session to one server.
void AddSessionHeader(grpc::ClientContext& context, const std::string& session_id);

// The trace that the environment says we take part in: TRACEPARENT, as OpenTelemetry has it. An
// ill-formed one is ignored.
void AddTraceHeader(grpc::ClientContext& context);

// The session's, for a request that names one. A fork goes where the new session will be asked for.
template <typename Request>
void AddSessionHeaderOf(grpc::ClientContext& context, const Request& request) {
  if constexpr (requires { request.new_session_id(); }) {
    AddSessionHeader(context, request.new_session_id().empty() ? request.session_id()
                                                               : request.new_session_id());
  } else if constexpr (requires { request.session_id(); }) {
    AddSessionHeader(context, request.session_id());
  }
}

// Both.
template <typename Request>
void AddHeaders(grpc::ClientContext& context, const Request& request) {
  AddTraceHeader(context);
  AddSessionHeaderOf(context, request);
}

// One GetSession call, one ReadSession call read to its end. Ctrl-C cancels them.
grpc::Status GetSession(v1::ModelService::StubInterface& stub, const std::string& id,
                        v1::Session& session);
// `ids`: those from `offset` on; where the call failed, as far as they came.
grpc::Status ReadSession(v1::ModelService::StubInterface& stub, const std::string& id,
                         uint64_t offset, std::vector<uint32_t>& ids);

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_SESSION_CALLS_H_
