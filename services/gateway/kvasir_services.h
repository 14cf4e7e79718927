#ifndef KVASIR_SERVICES_GATEWAY_KVASIR_SERVICES_H_
#define KVASIR_SERVICES_GATEWAY_KVASIR_SERVICES_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/cli/connection.h"
#include "services/gateway/token_table.h"
#include "services/grpc_status.h"

namespace kvasir::gateway {

// Who asks: what goes on to the services with every call.
struct Caller {
  std::string authorization;  // the header; empty: none
  std::string traceparent;
};

// Both services, as the gateway calls them.
class KvasirServices {
 public:
  explicit KvasirServices(const cli::ConnectionFlags& flags) : connection_(flags) {}

  v1::ModelService::Stub& model() { return connection_.model(); }
  v1::TokenizerService::Stub& tokenizer() { return connection_.tokenizer(); }

  // The headers of a call.
  template <typename Request>
  static void Prepare(grpc::ClientContext& context, const Caller& caller, const Request& request) {
    cli::AddSessionHeaderOf(context, request);
    Identify(context, caller);
  }

  // One unary call.
  template <typename Stub, typename Request, typename Response>
  static absl::Status Call(Stub& stub,
                           grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                        Response*),
                           const Caller& caller, const Request& request, Response& response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    Prepare(context, caller, request);
    return FromGrpcStatus((stub.*method)(&context, request, &response));
  }

  // A session's ids.
  absl::StatusOr<TokenIds> ReadSession(const Caller& caller, const std::string& id);

  // What does not change while a model is served.
  struct Facts {
    TokenTable tokens;
    std::string model_name;
    std::string fingerprint;
    uint32_t max_context = 0;
  };
  // Asked for once, with the key of whoever comes first. A service that serves another model than
  // before needs a new gateway. One that is being started again is waited for a moment, as by
  // CheckReached.
  absl::StatusOr<std::shared_ptr<const Facts>> Learn(const Caller& caller);

  // UNAVAILABLE names the service that is not reached within two seconds.
  absl::Status CheckReached();

 private:
  static constexpr std::chrono::seconds kPatience{60};

  static void Identify(grpc::ClientContext& context, const Caller& caller);

  cli::Connection connection_;
  std::mutex mutex_;
  std::shared_ptr<const Facts> facts_;  // guarded by mutex_
};

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_KVASIR_SERVICES_H_
