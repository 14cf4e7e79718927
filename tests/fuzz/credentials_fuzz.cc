// Tokens, sets of keys and files of API keys: what is not signed opens nothing, and what is signed
// names a tenant or nobody.
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "engine/check.h"
#include "services/auth/api_keys.h"
#include "services/auth/jwks.h"
#include "services/auth/jwt.h"

namespace {

constexpr std::string_view kSecret = "0123456789abcdef0123456789abcdef";

// With these bytes as header or claims.
std::string Signed(const std::string& header, const std::string& claims) {
  const std::string text =
      absl::WebSafeBase64Escape(header) + "." + absl::WebSafeBase64Escape(claims);
  std::array<unsigned char, 32> digest;
  unsigned size = 0;
  HMAC(EVP_sha256(), kSecret.data(), kSecret.size(),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &size);
  const std::string signature(reinterpret_cast<const char*>(digest.data()), size);
  return text + "." + absl::WebSafeBase64Escape(signature);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  static const auto* const keys = new kvasir::Jwks(
      kvasir::Jwks::Parse(R"({"keys":[{"kty":"oct","k":")" +
                          absl::WebSafeBase64Escape(std::string(kSecret)) + R"("}]})")
          .value());
  const kvasir::JwtRules rules = {.audience = "a", .issuer = ""};
  const absl::Time now = absl::FromUnixSeconds(1'000'000);
  KVASIR_CHECK(!kvasir::TenantOfJwt(input, *keys, rules, now).ok());
  for (const std::string& token : {Signed(R"({"alg":"HS256"})", input),
                                   Signed(input, R"({"aud":"a","exp":1000001,"sub":"anna"})")}) {
    const auto tenant = kvasir::TenantOfJwt(token, *keys, rules, now);
    KVASIR_CHECK(!tenant.ok() || kvasir::CheckTenant(*tenant).ok());
  }
  (void)kvasir::Jwks::Parse(input);
  if (const auto api_keys = kvasir::ApiKeys::Parse(input); api_keys.ok()) {
    KVASIR_CHECK(api_keys->size() > 0);
  }
  return 0;
}
