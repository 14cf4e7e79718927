#include "services/access_flags.h"

#include <arpa/inet.h>
#include <spdlog/spdlog.h>

#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kvasir {
namespace {

void TellOperator(bool ok, const std::string& line) {
  spdlog::log(ok ? spdlog::level::info : spdlog::level::err, "{}", line);
}

}  // namespace

bool IsLoopback(const std::string& listen) {
  std::string host = listen.substr(0, listen.rfind(':'));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6;
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6) != 0;
  return host == "localhost";
}

void AccessFlags::AddTo(ServiceCommand& command) {
  for (const auto& [name, limit, what] :
       {std::tuple("--max-requests-per-minute", &limits_.requests_per_minute, "Calls"),
        std::tuple("--max-tokens-per-minute", &limits_.tokens_per_minute,
                   "Tokens that are computed, or turned from or into text,"),
        std::tuple("--max-concurrent-requests", &limits_.concurrent_requests,
                   "Calls at the same time")}) {
    command.AddFlag(name, *limit, absl::StrCat(what, " of each tenant; 0: any number"))
        ->check(CLI::NonNegativeNumber);
  }
  command.AddFlag(
      "--api-keys", api_keys_,
      "File with a line for each key that opens this service: TENANT KEY, or TENANT "
      "sha256:DIGEST; read anew when it changes. Calls carry authorization: Bearer KEY");
  command.AddFlag("--jwt-keys", jwt_keys_,
                  "File with a JSON Web Key Set: calls may carry tokens signed by one of its keys "
                  "(HS256, RS256, ES256) in place of a key; read anew when it changes");
  command.AddFlag("--jwt-audience", jwt_rules_.audience, "That tokens must be for (aud)");
  command.AddFlag("--jwt-issuer", jwt_rules_.issuer, "That they must be of (iss); empty: any");
  command.AddFlag("--jwt-tenant-claim", jwt_rules_.tenant_claim, "What in them names the tenant");
  command.AddFlag("--tls-cert", tls_.certificate,
                  "File with the server's certificate and those up to its authority, in PEM: TLS. "
                  "Read anew when it changes, as the next two");
  command.AddFlag("--tls-key", tls_.key, "File with its key, in PEM, without a passphrase");
  command.AddFlag("--tls-client-ca", tls_.client_ca,
                  "File with authorities in PEM; only clients with a certificate of one may call");
  command.AddSwitch("--insecure", insecure_,
                    "Serve the network without asking who calls; else refused off loopback");
}

absl::Status AccessFlags::Apply(const ServiceCommand& command) {
  listen_ = command.listen();
  if (!jwt_keys_.empty() && jwt_rules_.audience.empty()) {
    return absl::InvalidArgumentError("--jwt-audience: needed with --jwt-keys");
  }
  if (!api_keys_.empty() || !jwt_keys_.empty()) {
    auto opened = Authenticator::Open({.api_keys = api_keys_,
                                       .jwt_keys = jwt_keys_,
                                       .jwt_rules = jwt_rules_,
                                       .tell = TellOperator});
    if (!opened.ok()) return opened.status();
    authenticator_ = *std::move(opened);
  }
  if (limits_ != QuotaLimits()) quotas_ = std::make_unique<TenantQuotas>(limits_);
  const bool asks_who_calls = authenticator_ != nullptr || !tls_.client_ca.empty();
  if (!asks_who_calls && !insecure_ && !IsLoopback(listen_)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--listen=", listen_, " serves the network to everybody: give --api-keys, --jwt-keys or ",
        "--tls-client-ca, or --insecure if that is meant"));
  }
  return CheckTls();
}

absl::Status AccessFlags::CheckTls() const {
  const bool any = !(tls_.certificate + tls_.key + tls_.client_ca).empty();
  if (!any) return absl::OkStatus();
  for (const auto& [flag, file] :
       {std::pair("--tls-cert", &tls_.certificate), std::pair("--tls-key", &tls_.key)}) {
    if (file->empty()) return absl::InvalidArgumentError(absl::StrCat(flag, ": needed for TLS"));
  }
  return CheckTlsFiles(tls_);
}

std::shared_ptr<grpc::ServerCredentials> AccessFlags::credentials() const {
  return tls_.certificate.empty() ? grpc::InsecureServerCredentials() : TlsCredentials(tls_);
}

void AccessFlags::Log() const {
  if (IsLoopback(listen_)) return;
  if (authenticator_ == nullptr && tls_.client_ca.empty()) {
    spdlog::warn("whoever reaches {} may call: no key is asked for (--insecure)", listen_);
  } else if (tls_.certificate.empty()) {
    spdlog::warn(
        "keys and all else go to {} as plain text, unless a proxy before it ends TLS "
        "(--tls-cert)",
        listen_);
  }
}

}  // namespace kvasir
