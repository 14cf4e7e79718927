#ifndef KVASIR_SERVICES_AUTH_JWT_H_
#define KVASIR_SERVICES_AUTH_JWT_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/auth/jwks.h"

namespace kvasir {

// What a token must say.
struct JwtRules {
  std::string audience;  // one of `aud`; not empty
  std::string issuer;    // `iss`; empty: any
  std::string tenant_claim = "sub";
};

// Whose a JSON Web Token (RFC 7519) is: its tenant_claim, once it is signed by one of the keys
// (HS256, RS256, ES256), for us, and within its time, by a minute more or less: `exp` must be
// there, `nbf` may. Otherwise UNAUTHENTICATED saying why, never what was sent.
absl::StatusOr<std::string> TenantOfJwt(std::string_view token, const Jwks& keys,
                                        const JwtRules& rules, absl::Time now);

}  // namespace kvasir

#endif  // KVASIR_SERVICES_AUTH_JWT_H_
