#ifndef KVASIR_SERVICES_ACCESS_FLAGS_H_
#define KVASIR_SERVICES_ACCESS_FLAGS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "services/auth/authenticator.h"
#include "services/auth/tenant_quotas.h"
#include "services/running_calls.h"
#include "services/service_command.h"
#include "services/tls_credentials.h"

namespace kvasir {

// Whether only this machine reaches a HOST:PORT to listen on. Of names only localhost is believed.
bool IsLoopback(const std::string& listen);

// Who may call a service, over what, and how much.
class AccessFlags {
 public:
  void AddTo(ServiceCommand& command);
  // Reads the files that the flags name. Errors name the flag, also where the service would serve
  // the network to everybody without having been told to.
  absl::Status Apply(const ServiceCommand& command);
  // Tells the operator who may call.
  void Log() const;

  // REQUIRES: Apply has succeeded, this outlives whoever uses them.
  RequestGuards guards() const {
    return {.authenticator = authenticator_.get(), .quotas = quotas_.get()};
  }
  std::shared_ptr<grpc::ServerCredentials> credentials() const;

 private:
  absl::Status CheckTls() const;

  std::string api_keys_, jwt_keys_;
  JwtRules jwt_rules_;
  TlsFiles tls_;  // no certificate: plain text
  bool insecure_ = false;
  QuotaLimits limits_;
  std::string listen_;
  std::unique_ptr<Authenticator> authenticator_;  // null: calls need no key
  std::unique_ptr<TenantQuotas> quotas_;          // null: no limits
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_ACCESS_FLAGS_H_
