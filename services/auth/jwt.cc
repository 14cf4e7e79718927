#include "services/auth/jwt.h"

#include <rapidjson/document.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "services/auth/api_keys.h"

namespace kvasir {
namespace {

constexpr size_t kLongestToken = 16 << 10;
constexpr absl::Duration kClocksDiffer = absl::Minutes(1);
// Doubles beyond are no time that anyone means.
constexpr double kLatest = 1e12;

absl::Status Refused(const std::string& why) {
  return absl::UnauthenticatedError(absl::StrCat("the token ", why));
}

// An object in base64url. The parser takes no more stack for deeper JSON.
bool ParseObject(std::string_view text, rapidjson::Document& object) {
  const absl::StatusOr<std::string> json = DecodeBase64Url(text);
  if (!json.ok()) return false;
  object.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(
      json->data(), json->size());
  return !object.HasParseError() && object.IsObject();
}

// Null where there is none.
const rapidjson::Value* Find(const rapidjson::Value& object, const std::string& name) {
  const auto found = object.FindMember(name.c_str());
  return found == object.MemberEnd() ? nullptr : &found->value;
}

bool Is(const rapidjson::Value* value, std::string_view text) {
  return value != nullptr && value->IsString() &&
         std::string_view(value->GetString(), value->GetStringLength()) == text;
}

bool IsFor(const rapidjson::Value* audience, const std::string& us) {
  if (audience == nullptr || !audience->IsArray()) return Is(audience, us);
  return std::any_of(audience->Begin(), audience->End(),
                     [&](const rapidjson::Value& each) { return Is(&each, us); });
}

bool IsTime(const rapidjson::Value& value) {
  return value.IsNumber() && value.GetDouble() >= 0 && value.GetDouble() <= kLatest;
}

absl::Status CheckTimes(const rapidjson::Value& claims, absl::Time now) {
  const auto time = [](const rapidjson::Value& value) {
    return absl::UnixEpoch() + absl::Seconds(value.GetDouble());
  };
  const rapidjson::Value* end = Find(claims, "exp");
  if (end == nullptr || !IsTime(*end)) return Refused("has no time of expiry (exp)");
  if (now >= time(*end) + kClocksDiffer) return Refused("has expired (exp)");
  const rapidjson::Value* begin = Find(claims, "nbf");
  if (begin == nullptr) return absl::OkStatus();
  if (!IsTime(*begin)) return Refused("has a time of beginning that is none (nbf)");
  if (now + kClocksDiffer < time(*begin)) return Refused("is not valid yet (nbf)");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> TenantOfJwt(std::string_view token, const Jwks& keys,
                                        const JwtRules& rules, absl::Time now) {
  const absl::Status malformed = Refused("is not a JSON Web Token");
  if (token.size() > kLongestToken) return malformed;
  const size_t first = token.find('.'), last = token.rfind('.');
  if (first == std::string_view::npos || first == last) return malformed;
  const std::string_view middle = token.substr(first + 1, last - first - 1);
  rapidjson::Document header, claims;
  const absl::StatusOr<std::string> signature = DecodeBase64Url(token.substr(last + 1));
  if (middle.find('.') != std::string_view::npos || !signature.ok() ||
      !ParseObject(token.substr(0, first), header)) {
    return malformed;
  }
  // An extension that must be understood is none that is.
  if (Find(header, "crit") != nullptr) return Refused("has extensions (crit)");
  const rapidjson::Value* algorithm = Find(header, "alg");
  if (!Is(algorithm, "HS256") && !Is(algorithm, "RS256") && !Is(algorithm, "ES256")) {
    return Refused("is not signed by HS256, RS256 or ES256 (alg)");
  }
  const rapidjson::Value* id = Find(header, "kid");
  const bool has_id = id != nullptr && id->IsString();
  if (!keys.Verify({algorithm->GetString(), algorithm->GetStringLength()},
                   has_id ? std::string_view(id->GetString(), id->GetStringLength()) : "",
                   token.substr(0, last), *signature)) {
    return Refused("is not signed by a key that is known here");
  }

  if (!ParseObject(middle, claims)) return malformed;
  if (absl::Status times = CheckTimes(claims, now); !times.ok()) return times;
  if (!rules.issuer.empty() && !Is(Find(claims, "iss"), rules.issuer)) {
    return Refused("is another issuer's (iss)");
  }
  if (!IsFor(Find(claims, "aud"), rules.audience)) return Refused("is for somebody else (aud)");
  const rapidjson::Value* tenant = Find(claims, rules.tenant_claim);
  if (tenant == nullptr || !tenant->IsString()) {
    return Refused(absl::StrCat("names no tenant (", rules.tenant_claim, ")"));
  }
  std::string name(tenant->GetString(), tenant->GetStringLength());
  if (!CheckTenant(name).ok()) {
    return Refused(absl::StrCat("names a tenant (", rules.tenant_claim,
                                ") that is not of the form [A-Za-z0-9._-]{1,64}"));
  }
  return name;
}

}  // namespace kvasir
