// JSON Web Tokens and their keys. What is given as text was made by PyJWT 2.15 with
// cryptography 50.
#include "services/auth/jwt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"

namespace kvasir {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";
// Keys "h", "r", "e", and tokens of theirs for anna, from 1,000,000 to 1,000,600 s.
constexpr char kKeys[] =
    R"({"keys": [{"kty": "oct", "kid": "h", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhY)"
    R"(mNkZWY"}, {"kty": "RSA", "kid": "r", "use": "sig", "alg": "RS256", "n": "-NcLhyY)"
    R"(qI4E8UBx1EStawXXBuNKlnnXTBaghOzeK2iOSdU4Rb8C7SBhmV4HTP_Bv-NrSQvy1l8yfQer7KpRmts5)"
    R"(siCT5ImWUXKf7DbBbweskT6zlCvjjBpAZ7nrRSW0AmwPRtZkSUY9wa-wI4xYhcIMErAdcyu6OnAxWyVP)"
    R"(LxCA8chBO0966v3zeF1TsWVyvyEVq41weLEnyiiMEoIpjyDq8bg7KiAndvkImGmkk7EsJIvmS1rMMs8a)"
    R"(06Sw-aTCNTVVnHMsHu_uFhCfBp3-YqZVqj_pzNI6PYBKdBvnNogEbh3Xm2tbEayrvMClB8s4sPI23Di3)"
    R"(9Q_TIVVcKllQ4iw", "e": "AQAB"}, {"kty": "EC", "kid": "e", "crv": "P-256", "x": ")"
    R"(T6tRpx8SOfXfla-HBUdtOiBycgGH28EiHbSVf7EPKUM", "y": "zzH16pFqvjLdUbRHqDxlHSxDitP0)"
    R"(6aSfM5G4NN7tiTg"}]})";
constexpr char kHs256[] =
    R"(eyJhbGciOiJIUzI1NiIsImtpZCI6ImgiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiJhbm5hIiwiYXVkIjoia)"
    R"(3Zhc2lyIiwiaXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwibmJmIjoxMDAwMDAwLCJleHAiOjEwMDA2M)"
    R"(DB9.7Rrn70QtLhSHnntIFqbN5Rn2ZS9hSym7yRLyK9Co5DQ)";
constexpr char kRs256[] =
    R"(eyJhbGciOiJSUzI1NiIsImtpZCI6InIiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiJhbm5hIiwiYXVkIjoia)"
    R"(3Zhc2lyIiwiaXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwibmJmIjoxMDAwMDAwLCJleHAiOjEwMDA2M)"
    R"(DB9.1WtEthQm1tggPRtK30qekDy4AWOeaKj2EfmCGcGn2WBNw2uH8NHrV8cpMvoQ3yDKjGCJ13anXjsf)"
    R"(vodb5fAmyNTab53RVSn2wK9C0OaVDcGijuhKFTXM-BbazdCfv0rCBwMGbacTwwKjJJ237nT7KJZS148s)"
    R"(GgBgCk3wV0weJtdQ2b0jIl3tbIJtFCJ3GXRMvcn0fuyAa-t9JzzULjgs3upRbba2FYNHqLIvPbHg7bmK)"
    R"(CafzS6pL42iZV_rftzDM2l3NEt7nqmOuI6qL-neKTlzx7g922eE2Nd8AJ_EGS5EhRBSFo4LPVS1kZZbW)"
    R"(_x8XdkpNOVJP3uNLmy5YTuG3RA)";
constexpr char kEs256[] =
    R"(eyJhbGciOiJFUzI1NiIsImtpZCI6ImUiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiJhbm5hIiwiYXVkIjoia)"
    R"(3Zhc2lyIiwiaXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwibmJmIjoxMDAwMDAwLCJleHAiOjEwMDA2M)"
    R"(DB9._7KJ6lN7HjiZdTHo3J4F27rhr2wU8Q0O6ykKiSIM5mqPpIuL0uCWpdYGf83qeT_73HHD9vTa4ah-)"
    R"(mpU_cq-F_A)";
// By another key of that name; by another algorithm; without a signature.
constexpr char kOthersEs256[] =
    R"(eyJhbGciOiJFUzI1NiIsImtpZCI6ImUiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiJhbm5hIiwiYXVkIjoia)"
    R"(3Zhc2lyIiwiaXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwibmJmIjoxMDAwMDAwLCJleHAiOjEwMDA2M)"
    R"(DB9.ltswbpuir_9WTyzMWydCFvO_0hSpT9kxUR1ZrxmpLJQFwwZ4jc_ejSHtNm--pkRvoLvbqtgTcldM)"
    R"(D9sEzmbRog)";
constexpr char kRs384[] =
    R"(eyJhbGciOiJSUzM4NCIsImtpZCI6InIiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiJhbm5hIiwiYXVkIjoia)"
    R"(3Zhc2lyIiwiaXNzIjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwibmJmIjoxMDAwMDAwLCJleHAiOjEwMDA2M)"
    R"(DB9.7rAH1ROahlWBMglfam7MBgRtsfxsM8gLyPhSFQ6P0xeIyVIuvWzwwhLAMz1WVtHrzJWBD3VxN0fF)"
    R"(1NArbW3qCTz_UdJo9r2R0nPVR7Om52smfVBQm5dftFHokfy9-O1qDKawHmhF5YhE8g9YFqpvlEi0-4qc)"
    R"(MZuHKE0_S1hHhVSq29KhO6QGlFsQLTKca5lTVkVcZu445-DoRjDDfeM_MtpPvSQatH-BUt-BFbdjLYBs)"
    R"(K3y9G8kAOL565SROewoF1k_8rHyFnajGgTJJzZUNDQVqu_n39nt-B58vIJIHsT9EptVSPTkfqu3FPTMP)"
    R"(-4LArrJuqfVUKdeyXOY25JIsRQ)";
constexpr char kUnsigned[] =
    R"(eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbm5hIiwiYXVkIjoia3Zhc2lyIiwiaXNz)"
    R"(IjoiaHR0cHM6Ly9pZC5leGFtcGxlIiwibmJmIjoxMDAwMDAwLCJleHAiOjEwMDA2MDB9.)";

const absl::Time kNow = absl::FromUnixSeconds(1'000'300);
const JwtRules kRules = {.audience = "kvasir", .issuer = "https://id.example"};

Jwks Keys(const std::string& json = kKeys) {
  absl::StatusOr<Jwks> keys = Jwks::Parse(json);
  EXPECT_TRUE(keys.ok()) << keys.status();
  return keys.ok() ? *std::move(keys) : Jwks();
}

// The tenant, or why there is none.
std::string Ask(const std::string& token, absl::Time now = kNow, const JwtRules& rules = kRules,
                const Jwks& keys = Keys()) {
  const absl::StatusOr<std::string> tenant = TenantOfJwt(token, keys, rules, now);
  if (tenant.ok()) return *tenant;
  EXPECT_EQ(tenant.status().code(), absl::StatusCode::kUnauthenticated);
  return std::string(tenant.status().message());
}

// Signed with HMAC-SHA-256.
std::string Signed(const std::string& header, const std::string& claims,
                   const std::string& secret = kSecret) {
  const std::string text =
      absl::WebSafeBase64Escape(header) + "." + absl::WebSafeBase64Escape(claims);
  std::array<unsigned char, 32> digest;
  unsigned size = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &size);
  return text + "." +
         absl::WebSafeBase64Escape(std::string(reinterpret_cast<char*>(digest.data()), size));
}
std::string Claiming(const std::string& claims) { return Signed(R"({"alg":"HS256"})", claims); }

TEST(Jwt, OtherProgramsTokensAreTaken) {
  for (const char* token : {kHs256, kRs256, kEs256}) EXPECT_EQ(Ask(token), "anna");
}

TEST(Jwt, AnyChangedBitIsSeen) {
  const Jwks keys = Keys();
  for (const std::string token : {kHs256, kRs256, kEs256}) {
    for (size_t i = 0; i < token.size(); ++i) {
      std::string changed = token;
      changed[i] = changed[i] == 'A' ? 'B' : 'A';
      EXPECT_NE(Ask(changed, kNow, kRules, keys), "anna") << i;
      EXPECT_NE(Ask(token.substr(0, i), kNow, kRules, keys), "anna") << i;
    }
    EXPECT_NE(Ask(token + "A", kNow, kRules, keys), "anna");
    EXPECT_NE(Ask(token + "=", kNow, kRules, keys), "anna");
    EXPECT_NE(Ask(token + ".", kNow, kRules, keys), "anna");
  }
}

TEST(Jwt, ItsHeaderDoesNotChooseHowAKeyIsUsed) {
  EXPECT_THAT(Ask(kOthersEs256), HasSubstr("not signed by a key"));
  EXPECT_THAT(Ask(kRs384), HasSubstr("alg"));
  EXPECT_THAT(Ask(kUnsigned), HasSubstr("alg"));
  const std::string claims =
      R"({"sub":"anna","aud":"kvasir","exp":1000600,"iss":"https://id.example"})";
  EXPECT_EQ(Ask(Signed(R"({"alg":"HS256"})", claims)), "anna");
  for (const char* algorithm : {"none", "None", "", "hs256", "HS512", "RS256", "ES256"}) {
    EXPECT_NE(Ask(Signed(absl::StrReplaceAll(R"({"alg":"A"})", {{"A", algorithm}}), claims)),
              "anna");
  }
  EXPECT_NE(Ask(Signed(R"({"alg":["HS256"]})", claims)), "anna");
  EXPECT_NE(Ask(Signed("{}", claims)), "anna");
  EXPECT_THAT(Ask(Signed(R"({"alg":"HS256","crit":["exp"]})", claims)), HasSubstr("crit"));
  // What is public of other keys is no secret: the modulus as it is written, and an empty one.
  const std::string json = kKeys;
  const size_t n = json.find("\"n\": \"") + 6;
  const std::string modulus = json.substr(n, json.find('"', n) - n);
  std::string bytes;
  ASSERT_TRUE(absl::WebSafeBase64Unescape(modulus, &bytes));
  for (const std::string& secret : {modulus, bytes, std::string()}) {
    for (const char* id : {"r", "e", "h", ""}) {
      const std::string header = absl::StrReplaceAll(R"({"alg":"HS256","kid":"ID"})", {{"ID", id}});
      EXPECT_NE(Ask(Signed(header, claims, secret)), "anna");
    }
  }
  // Another key's name.
  EXPECT_NE(Ask(Signed(R"({"alg":"HS256","kid":"r"})", claims)), "anna");
}

TEST(Jwt, TimesCountWithAMinuteBetweenClocks) {
  const auto at = [](int64_t seconds) { return Ask(kEs256, absl::FromUnixSeconds(seconds)); };
  EXPECT_THAT(at(1'000'000 - 61), HasSubstr("not valid yet (nbf)"));
  EXPECT_EQ(at(1'000'000 - 60), "anna");
  EXPECT_EQ(at(1'000'600 + 59), "anna");
  EXPECT_THAT(at(1'000'600 + 60), HasSubstr("expired"));
  const std::string rest = R"("sub":"anna","aud":"kvasir","iss":"https://id.example"})";
  EXPECT_EQ(Ask(Claiming(R"({"exp":1000600.5,)" + rest)), "anna");
  for (const char* times :
       {"", R"("exp":"1000600",)", R"("exp":null,)", R"("exp":-1,)", R"("exp":1e300,)",
        R"("exp":true,)", R"("exp":1000600,"nbf":"now",)", R"("exp":1000600,"nbf":1e300,)"}) {
    EXPECT_THAT(Ask(Claiming("{" + std::string(times) + rest)), HasSubstr("the token has"))
        << times;
  }
}

TEST(Jwt, ItMustBeForUsAndSayWhose) {
  const std::string exp = R"({"exp":1000600,"iss":"https://id.example",)";
  EXPECT_EQ(Ask(Claiming(exp + R"("sub":"anna","aud":["x","kvasir"]})")), "anna");
  for (const char* audience : {R"("aud":"other",)", R"("aud":["other"],)", R"("aud":[],)",
                               R"("aud":["kvasi",1,null],)", R"("aud":{"kvasir":1},)", ""}) {
    EXPECT_THAT(Ask(Claiming(exp + audience + R"("sub":"anna"})")), HasSubstr("(aud)")) << audience;
  }
  JwtRules rules = kRules;
  rules.issuer = "https://other.example";
  EXPECT_THAT(Ask(kHs256, kNow, rules), HasSubstr("(iss)"));
  rules.issuer = "";
  EXPECT_EQ(Ask(kHs256, kNow, rules), "anna");
  rules.tenant_claim = "team";
  EXPECT_THAT(Ask(kHs256, kNow, rules), HasSubstr("names no tenant (team)"));
  const std::string aud = exp + R"("aud":"kvasir","sub":"anna",)";
  EXPECT_EQ(Ask(Claiming(aud + R"("team":"red"})"), kNow, rules), "red");
  for (const char* team : {R"("")", R"("a/b")", R"("~a")", R"("a b")", R"("a\u0000")"}) {
    EXPECT_THAT(Ask(Claiming(aud + R"("team":)" + team + "}"), kNow, rules),
                AllOf(HasSubstr("not of the form"), Not(HasSubstr("a/b"))));
  }
  EXPECT_THAT(Ask(Claiming(aud + R"("team":["red"]})"), kNow, rules), HasSubstr("no tenant"));
}

TEST(Jwt, WhatIsNoTokenIsRefused) {
  for (const std::string& token :
       {std::string(), std::string("."), std::string(".."), std::string("a.b.c"),
        std::string("a.b"), std::string(20'000, '.'), std::string(20'000, 'A'), Signed("[]", "{}"),
        Signed(std::string(6000, '['), "{}"), Claiming(std::string(6000, '[')), Claiming("null"),
        Claiming("{"), Claiming("\xff")}) {
    EXPECT_THAT(Ask(token), HasSubstr("the token is not")) << token.substr(0, 40);
  }
}

TEST(Jwks, WeakAndDamagedKeysAreNamedByTheirPlace) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "not a JSON object"},
      {"[]", "not a JSON object"},
      {std::string(100'000, '['), "not a JSON object"},
      {"{}", "no array"},
      {R"({"keys":{}})", "no array"},
      {R"({"keys":[]})", "no key for"},
      {R"({"keys":[1]})", "keys[0] is not an object"},
      {R"({"keys":[{"kty":"oct","use":"enc","k":"c2VjcmV0"}]})", "no key for"},
      {R"({"keys":[{"kty":"oct","alg":"HS512","k":"c2VjcmV0"}]})", "no key for"},
      {R"({"keys":[{"kty":"oct","k":"c2VjcmV0"}]})", "keys[0] has no secret of at least 32"},
      {R"({"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]})", "keys[0] is no RSA key"},
      {R"({"keys":[{"kty":"RSA","n":"","e":""}]})", "keys[0] is no RSA key"},
      {R"({"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}]})", "keys[0] is no point"},
      {R"({"keys":[{"kty":"EC","crv":"P-256","x":")" + std::string(43, 'A') + R"(","y":")" +
           std::string(43, 'A') + R"("}]})",
       "keys[0] is no point"},
      {R"({"keys":[{"kty":"EC","crv":"P-384"},{"kty":"EC","crv":"P-256"}]})",
       "keys[1] is no point"},
  };
  for (const auto& [json, why] : cases) {
    const absl::Status status = Jwks::Parse(json).status();
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(why), Not(HasSubstr("c2V"))));
  }
}

}  // namespace
}  // namespace kvasir
