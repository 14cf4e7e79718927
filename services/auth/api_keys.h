#ifndef KVASIR_SERVICES_AUTH_API_KEYS_H_
#define KVASIR_SERVICES_AUTH_API_KEYS_H_

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvasir {

// A tenant's name: "[A-Za-z0-9._-]{1,64}", or INVALID_ARGUMENT.
absl::Status CheckTenant(std::string_view name);

// Keys and whose they are. Only digests are kept. Immutable.
class ApiKeys {
 public:
  // A line for each key: the tenant's name, blanks, and the key, or sha256: and the 64 hexadecimal
  // digits of its SHA-256. A tenant may have several keys. Empty lines and what begins with # are
  // passed over.
  // INVALID_ARGUMENT naming line and reason, never what the key is.
  static absl::StatusOr<ApiKeys> Parse(std::string_view text);

  // Nothing where it is nobody's. Takes the same time for every key of one length.
  std::optional<std::string> TenantOf(std::string_view key) const;
  size_t size() const { return entries_.size(); }

 private:
  using Digest = std::array<unsigned char, 32>;
  struct Entry {
    std::string tenant;
    Digest digest;
  };
  static Digest DigestOf(std::string_view key);
  static absl::StatusOr<Digest> ParseKey(std::string_view word);

  std::vector<Entry> entries_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_AUTH_API_KEYS_H_
