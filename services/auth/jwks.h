#ifndef KVASIR_SERVICES_AUTH_JWKS_H_
#define KVASIR_SERVICES_AUTH_JWKS_H_

#include <openssl/evp.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace kvasir {

// Keys that verify signatures: a JSON Web Key Set (RFC 7517). Immutable.
class Jwks {
 public:
  // Of a file of a provider's, which may have keys for other ends: those are passed over. Left are
  // secrets of 32 bytes at least (HS256), RSA keys of 2048 to 16384 bits (RS256) and points of
  // P-256 (ES256); a weak or damaged one is an error, and so is a set without any. INVALID_ARGUMENT
  // naming the key by its place, never telling what it is.
  static absl::StatusOr<Jwks> Parse(std::string_view json);

  // Whether `signature` is that of one of the keys over `text`, by the algorithm that the key's
  // kind stands for: only keys of `algorithm` ("HS256" and so on) are tried, and where `id` is not
  // empty only those with that id or without any.
  bool Verify(std::string_view algorithm, std::string_view id, std::string_view text,
              std::string_view signature) const;

 private:
  struct Key {
    std::string_view algorithm;  // a literal
    std::string id;
    std::string secret;                              // of HS256
    std::shared_ptr<EVP_PKEY> public_key = nullptr;  // of the others
  };
  friend class JwkReader;

  std::vector<Key> keys_;
};

// What base64url without padding (RFC 7515) stands for; nothing where it is not that, to the bit.
absl::StatusOr<std::string> DecodeBase64Url(std::string_view text);

}  // namespace kvasir

#endif  // KVASIR_SERVICES_AUTH_JWKS_H_
