#include "services/auth/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/check.h"

namespace kvasir {
namespace {

constexpr size_t kMaxTenant = 64;
constexpr size_t kMinKey = 16;
constexpr size_t kMaxKey = 512;
constexpr std::string_view kHashed = "sha256:";
constexpr std::string_view kBlanks = " \t\r";

absl::Status Bad(const std::string& why) { return absl::InvalidArgumentError(why); }

// Takes the next word off `line`; empty where there is none.
std::string_view NextWord(std::string_view& line) {
  const size_t begin = std::min(line.find_first_not_of(kBlanks), line.size());
  const size_t end = std::min(line.find_first_of(kBlanks, begin), line.size());
  const std::string_view word = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return word;
}

}  // namespace

absl::Status CheckTenant(std::string_view name) {
  const bool fits = !name.empty() && name.size() <= kMaxTenant;
  const auto allowed = [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  };
  if (fits && std::all_of(name.begin(), name.end(), allowed)) return absl::OkStatus();
  return Bad("the tenant's name is not of the form [A-Za-z0-9._-]{1,64}");
}

ApiKeys::Digest ApiKeys::DigestOf(std::string_view key) {
  Digest digest;
  KVASIR_CHECK(EVP_Digest(key.data(), key.size(), digest.data(), nullptr, EVP_sha256(), nullptr) ==
               1);
  return digest;
}

absl::StatusOr<ApiKeys::Digest> ApiKeys::ParseKey(std::string_view word) {
  if (word.starts_with(kHashed)) {
    const std::string_view digits = word.substr(kHashed.size());
    Digest digest;
    const bool hex = std::all_of(digits.begin(), digits.end(),
                                 [](unsigned char c) { return absl::ascii_isxdigit(c); });
    if (!hex || digits.size() != 2 * digest.size()) {
      return Bad("sha256: is not followed by 64 hexadecimal digits");
    }
    const std::string bytes = absl::HexStringToBytes(std::string(digits));
    std::copy(bytes.begin(), bytes.end(), digest.begin());
    return digest;
  }
  if (word.size() < kMinKey || word.size() > kMaxKey) {
    return Bad(absl::StrCat("a key of ", word.size(), " characters, where ", kMinKey, " to ",
                            kMaxKey, " are asked for"));
  }
  const auto visible = [](char c) { return c > ' ' && c <= '~'; };
  if (!std::all_of(word.begin(), word.end(), visible)) {
    return Bad("a key with characters beyond visible ASCII, which no header carries");
  }
  return DigestOf(word);
}

absl::StatusOr<ApiKeys> ApiKeys::Parse(std::string_view text) {
  ApiKeys keys;
  std::set<Digest> seen;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));

    const std::string_view tenant = NextWord(line);
    if (tenant.empty() || tenant.front() == '#') continue;
    absl::Status status = CheckTenant(tenant);
    const std::string_view key = NextWord(line);
    if (status.ok() && (key.empty() || !NextWord(line).empty())) {
      status = Bad("not of the form TENANT KEY");
    }
    if (status.ok()) {
      const absl::StatusOr<Digest> digest = ParseKey(key);
      status = digest.status();
      if (digest.ok() && !seen.insert(*digest).second) status = Bad("the key is there twice");
      if (status.ok()) keys.entries_.push_back({std::string(tenant), *digest});
    }
    if (!status.ok()) return Bad(absl::StrCat("line ", number, ": ", status.message()));
  }
  if (keys.entries_.empty()) return Bad("there is no key in it");
  return keys;
}

std::optional<std::string> ApiKeys::TenantOf(std::string_view key) const {
  const Digest digest = DigestOf(key);
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {  // all of them, whether it was found or not
    const bool same = CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0;
    found = same ? &entry : found;
  }
  if (found == nullptr) return std::nullopt;
  return found->tenant;
}

}  // namespace kvasir
