#include "services/auth/authenticator.h"

#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace kvasir {
namespace {

constexpr std::string_view kScheme = "Bearer ";  // RFC 6750; in any case, RFC 9110

absl::Status Refused(const std::string& why) {
  return absl::UnauthenticatedError(absl::StrCat("authorization: ", why));
}

// Where a file is named.
template <typename T>
absl::Status OpenFile(const char* flag, const std::string& path, const auto& tell,
                      std::unique_ptr<ReloadedFile<T>>& file) {
  if (path.empty()) return absl::OkStatus();
  auto opened = ReloadedFile<T>::Open(path, T::Parse, tell);
  if (!opened.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", opened.status().message()));
  }
  file = *std::move(opened);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Open(const Options& options) {
  std::unique_ptr<Authenticator> authenticator(new Authenticator(options.jwt_rules));
  absl::Status opened =
      OpenFile("--api-keys", options.api_keys, options.tell, authenticator->api_keys_);
  if (opened.ok()) {
    opened = OpenFile("--jwt-keys", options.jwt_keys, options.tell, authenticator->jwt_keys_);
  }
  if (!opened.ok()) return opened;
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
  const std::string_view key = header.substr(kScheme.size());
  if (api_keys_ != nullptr) {
    std::optional<std::string> tenant = api_keys_->Get()->TenantOf(key);
    if (tenant) return *std::move(tenant);
  }
  if (jwt_keys_ == nullptr || (api_keys_ != nullptr && key.find('.') == std::string_view::npos)) {
    return Refused("the key is not known here");
  }
  absl::StatusOr<std::string> tenant = TenantOfJwt(key, *jwt_keys_->Get(), jwt_rules_, absl::Now());
  if (!tenant.ok()) return Refused(std::string(tenant.status().message()));
  return tenant;
}

}  // namespace kvasir
