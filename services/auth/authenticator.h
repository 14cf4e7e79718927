#ifndef KVASIR_SERVICES_AUTH_AUTHENTICATOR_H_
#define KVASIR_SERVICES_AUTH_AUTHENTICATOR_H_

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "services/auth/api_keys.h"
#include "services/auth/jwks.h"
#include "services/auth/jwt.h"
#include "services/auth/reloaded_file.h"

namespace kvasir {

// Whose call it is, by what the caller sent as `authorization`. Thread-safe.
class Authenticator {
 public:
  struct Options {
    std::string api_keys;  // a file, as ApiKeys::Parse has it; empty: none
    std::string jwt_keys;  // a file, as Jwks::Parse has it; empty: no tokens are taken
    JwtRules jwt_rules;
    // A line for the operator.
    std::function<void(bool ok, const std::string& line)> tell;
  };
  // INVALID_ARGUMENT naming flag and file, never a key. REQUIRES: one of the files is named.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Open(const Options& options);

  // The tenant, by the one header "Bearer KEY", or "Bearer TOKEN". UNAUTHENTICATED saying what is
  // missing or wrong, never what was sent.
  absl::StatusOr<std::string> TenantOf(std::span<const std::string_view> headers) const;

 private:
  explicit Authenticator(JwtRules rules) : jwt_rules_(std::move(rules)) {}

  std::unique_ptr<ReloadedFile<ApiKeys>> api_keys_;  // null: none
  std::unique_ptr<ReloadedFile<Jwks>> jwt_keys_;     // null: none
  const JwtRules jwt_rules_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_AUTH_AUTHENTICATOR_H_
