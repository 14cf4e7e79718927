#include "services/cli/session_calls.h"

#include <algorithm>
#include <cstdlib>

#include "services/cli/interrupts.h"
#include "services/trace_context.h"

namespace kvasir::cli {

void AddSessionHeader(grpc::ClientContext& context, const std::string& session_id) {
  // gRPC takes printable ASCII; an id of another form the server will refuse by name.
  const bool printable = std::all_of(session_id.begin(), session_id.end(),
                                     [](char c) { return c >= ' ' && c <= '~'; });
  if (!session_id.empty() && printable) context.AddMetadata("kvasir-session", session_id);
}

void AddTraceHeader(grpc::ClientContext& context) {
  const char* traceparent = std::getenv("TRACEPARENT");
  if (traceparent != nullptr && ParseTraceparent(traceparent)) {
    context.AddMetadata("traceparent", traceparent);
  }
}

grpc::Status GetSession(v1::ModelService::StubInterface& stub, const std::string& id,
                        v1::Session& session) {
  grpc::ClientContext context;
  const Interrupts::Cancels cancels(context);
  v1::GetSessionRequest request;
  request.set_session_id(id);
  AddHeaders(context, request);
  v1::GetSessionResponse response;
  grpc::Status status = stub.GetSession(&context, request, &response);
  session = response.session();
  return status;
}

grpc::Status ReadSession(v1::ModelService::StubInterface& stub, const std::string& id,
                         uint64_t offset, std::vector<uint32_t>& ids) {
  grpc::ClientContext context;
  const Interrupts::Cancels cancels(context);
  v1::ReadSessionRequest request;
  request.set_session_id(id);
  request.set_offset(offset);
  AddHeaders(context, request);
  const auto call = stub.ReadSession(&context, request);
  v1::ReadSessionResponse response;
  ids.clear();
  while (call->Read(&response)) {
    ids.insert(ids.end(), response.ids().begin(), response.ids().end());
  }
  return call->Finish();
}

}  // namespace kvasir::cli
