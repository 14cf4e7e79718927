#include "services/auth/jwks.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <rapidjson/document.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/check.h"

namespace kvasir {
namespace {

constexpr size_t kMinSecret = 32;  // bytes; RFC 7518, 3.2
constexpr int kMinRsaBits = 2048, kMaxRsaBits = 16384;
constexpr size_t kCoordinate = 32;  // bytes of P-256

template <auto kFree>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Number = std::unique_ptr<BIGNUM, Freer<BN_free>>;
using Builder = std::unique_ptr<OSSL_PARAM_BLD, Freer<OSSL_PARAM_BLD_free>>;
using Params = std::unique_ptr<OSSL_PARAM, Freer<OSSL_PARAM_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Freer<EVP_PKEY_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Freer<EVP_MD_CTX_free>>;
using Signature = std::unique_ptr<ECDSA_SIG, Freer<ECDSA_SIG_free>>;

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

Number ToNumber(std::string_view bytes) {
  return Number(BN_bin2bn(Bytes(bytes), static_cast<int>(bytes.size()), nullptr));
}

// Null where they are not a key's.
std::shared_ptr<EVP_PKEY> MakeKey(const char* kind, OSSL_PARAM_BLD* builder) {
  const Params params(OSSL_PARAM_BLD_to_param(builder));
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, kind, nullptr));
  EVP_PKEY* key = nullptr;
  const bool made = EVP_PKEY_fromdata_init(context.get()) == 1 &&
                    EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, params.get()) == 1;
  std::shared_ptr<EVP_PKEY> owned(key, EVP_PKEY_free);
  ERR_clear_error();
  return made ? owned : nullptr;
}

std::shared_ptr<EVP_PKEY> MakeRsaKey(const std::string& modulus, const std::string& exponent) {
  const Builder builder(OSSL_PARAM_BLD_new());
  const Number n = ToNumber(modulus), e = ToNumber(exponent);  // outlive the parameters' making
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get());
  return MakeKey("RSA", builder.get());
}

std::shared_ptr<EVP_PKEY> MakeEcKey(const std::string& x, const std::string& y) {
  if (x.size() != kCoordinate || y.size() != kCoordinate) return nullptr;
  const std::string point = std::string("\x04") + x + y;  // uncompressed
  const Builder builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
  OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                   point.size());
  std::shared_ptr<EVP_PKEY> key = MakeKey("EC", builder.get());
  if (key == nullptr) return nullptr;
  const KeyContext context(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  const bool on_curve = EVP_PKEY_public_check(context.get()) == 1;
  ERR_clear_error();
  return on_curve ? key : nullptr;
}

// r and s one after the other (RFC 7518, 3.4) as OpenSSL has them; empty where they are not that.
std::string ToDer(std::string_view signature) {
  if (signature.size() != 2 * kCoordinate) return "";
  const Signature pair(ECDSA_SIG_new());
  // Both are the pair's from then on, which takes all but null.
  KVASIR_CHECK(ECDSA_SIG_set0(pair.get(), ToNumber(signature.substr(0, kCoordinate)).release(),
                              ToNumber(signature.substr(kCoordinate)).release()) == 1);
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(pair.get(), &der);
  std::string bytes(reinterpret_cast<const char*>(der), static_cast<size_t>(std::max(size, 0)));
  OPENSSL_free(der);
  return bytes;
}

bool VerifyHmac(const std::string& secret, std::string_view text, std::string_view signature) {
  std::array<unsigned char, 32> digest;
  unsigned size = 0;
  if (HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()), Bytes(text), text.size(),
           digest.data(), &size) == nullptr) {
    return false;
  }
  return signature.size() == digest.size() &&
         CRYPTO_memcmp(signature.data(), digest.data(), digest.size()) == 0;
}

bool VerifyWith(EVP_PKEY* key, std::string_view text, std::string_view signature) {
  const DigestContext context(EVP_MD_CTX_new());
  const bool good = EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key) == 1 &&
                    EVP_DigestVerify(context.get(), Bytes(signature), signature.size(), Bytes(text),
                                     text.size()) == 1;
  ERR_clear_error();
  return good;
}

}  // namespace

// One member of a set's "keys".
class JwkReader {
 public:
  explicit JwkReader(const rapidjson::Value& json) : json_(json) {}

  // Nothing where it is for another end.
  absl::StatusOr<std::optional<Jwks::Key>> Read() const {
    if (!json_.IsObject()) return Bad("is not an object");
    const std::string kind = Text("kty"), use = Text("use"), algorithm = Text("alg");
    Jwks::Key key;
    key.id = Text("kid");
    key.algorithm = kind == "oct"                            ? "HS256"
                    : kind == "RSA"                          ? "RS256"
                    : kind == "EC" && Text("crv") == "P-256" ? "ES256"
                                                             : "";
    const bool ours = !key.algorithm.empty() && (use.empty() || use == "sig") &&
                      (algorithm.empty() || algorithm == key.algorithm);
    if (!ours) return std::nullopt;
    if (absl::Status read = kind == "oct" ? ReadSecret(key) : ReadPublicKey(kind, key);
        !read.ok()) {
      return read;
    }
    return key;
  }

 private:
  static absl::Status Bad(const char* why) { return absl::InvalidArgumentError(why); }

  // Empty where there is none.
  std::string Text(const char* name) const {
    const auto found = json_.FindMember(name);
    if (found == json_.MemberEnd() || !found->value.IsString()) return "";
    return {found->value.GetString(), found->value.GetStringLength()};
  }
  // Empty where it is missing or ill-formed.
  std::string Binary(const char* name) const { return DecodeBase64Url(Text(name)).value_or(""); }

  absl::Status ReadSecret(Jwks::Key& key) const {
    key.secret = Binary("k");
    if (key.secret.size() < kMinSecret) return Bad("has no secret of at least 32 bytes");
    return absl::OkStatus();
  }
  absl::Status ReadPublicKey(const std::string& kind, Jwks::Key& key) const {
    if (kind == "EC") {
      key.public_key = MakeEcKey(Binary("x"), Binary("y"));
      return key.public_key != nullptr ? absl::OkStatus() : Bad("is no point of P-256");
    }
    const std::string modulus = Binary("n"), exponent = Binary("e");
    if (!modulus.empty() && modulus.size() <= kMaxRsaBits / 8 && !exponent.empty()) {
      key.public_key = MakeRsaKey(modulus, exponent);
    }
    if (key.public_key == nullptr || EVP_PKEY_get_bits(key.public_key.get()) < kMinRsaBits) {
      return Bad("is no RSA key of 2048 to 16384 bits");
    }
    return absl::OkStatus();
  }

  const rapidjson::Value& json_;
};

absl::StatusOr<Jwks> Jwks::Parse(std::string_view json) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(json.data(), json.size());
  if (document.HasParseError() || !document.IsObject()) {
    return absl::InvalidArgumentError("is not a JSON object");
  }
  const rapidjson::Value& root = document;
  const auto keys = root.FindMember("keys");
  if (keys == root.MemberEnd() || !keys->value.IsArray()) {
    return absl::InvalidArgumentError("has no array \"keys\"");
  }
  Jwks set;
  for (rapidjson::SizeType i = 0; i < keys->value.Size(); ++i) {
    absl::StatusOr<std::optional<Key>> key = JwkReader(keys->value[i]).Read();
    if (!key.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("keys[", i, "] ", key.status().message()));
    }
    if (key->has_value()) set.keys_.push_back(**std::move(key));
  }
  if (set.keys_.empty()) {
    return absl::InvalidArgumentError("has no key for HS256, RS256 or ES256");
  }
  return set;
}

bool Jwks::Verify(std::string_view algorithm, std::string_view id, std::string_view text,
                  std::string_view signature) const {
  return std::any_of(keys_.begin(), keys_.end(), [&](const Key& key) {
    if (key.algorithm != algorithm) return false;
    if (!id.empty() && !key.id.empty() && key.id != id) return false;
    if (key.public_key == nullptr) return VerifyHmac(key.secret, text, signature);
    if (algorithm != "ES256") return VerifyWith(key.public_key.get(), text, signature);
    const std::string der = ToDer(signature);
    return !der.empty() && VerifyWith(key.public_key.get(), text, der);
  });
}

absl::StatusOr<std::string> DecodeBase64Url(std::string_view text) {
  const absl::Status bad = absl::InvalidArgumentError("not base64url");
  const auto allowed = [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '-' || c == '_';
  };
  if (!std::all_of(text.begin(), text.end(), allowed)) return bad;
  std::string bytes;
  if (!absl::WebSafeBase64Unescape({text.data(), text.size()}, &bytes)) return bad;
  // Bits beyond the last byte must be zero: one spelling for one token.
  const std::string again = absl::WebSafeBase64Escape(bytes);
  if (std::string_view(again) != text) return bad;
  return bytes;
}

}  // namespace kvasir
