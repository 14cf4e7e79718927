#include "services/auth/authenticator.h"

#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace kvasir {
namespace {

constexpr std::string_view kScheme = "Bearer ";  // RFC 6750; in any case, RFC 9110

absl::Status Refused(const char* why) {
  return absl::UnauthenticatedError(absl::StrCat("authorization: ", why));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Open(const Options& options) {
  std::unique_ptr<Authenticator> authenticator(new Authenticator);
  auto keys = ReloadedFile<ApiKeys>::Open(options.api_keys, ApiKeys::Parse, options.tell);
  if (!keys.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--api-keys: ", keys.status().message()));
  }
  authenticator->api_keys_ = *std::move(keys);
  return authenticator;
}

absl::StatusOr<std::string> Authenticator::TenantOf(
    std::span<const std::string_view> headers) const {
  if (headers.empty()) return Refused("missing; this server asks for 'Bearer KEY'");
  if (headers.size() > 1) return Refused("sent more than once");
  const std::string_view header = headers.front();
  const std::string_view scheme = header.substr(0, kScheme.size());
  if (!absl::EqualsIgnoreCase({scheme.data(), scheme.size()}, {kScheme.data(), kScheme.size()})) {
    return Refused("not of the form 'Bearer KEY'");
  }
  std::optional<std::string> tenant = api_keys_->Get()->TenantOf(header.substr(kScheme.size()));
  if (!tenant) return Refused("the key is not known here");
  return *std::move(tenant);
}

}  // namespace kvasir
