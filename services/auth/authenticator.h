#ifndef KVASIR_SERVICES_AUTH_AUTHENTICATOR_H_
#define KVASIR_SERVICES_AUTH_AUTHENTICATOR_H_

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "services/auth/api_keys.h"
#include "services/auth/reloaded_file.h"

namespace kvasir {

// Whose call it is, by what the caller sent as `authorization`. Thread-safe.
class Authenticator {
 public:
  struct Options {
    std::string api_keys;  // a file, as ApiKeys::Parse has it
    // A line for the operator.
    std::function<void(bool ok, const std::string& line)> tell;
  };
  // INVALID_ARGUMENT naming flag and file, never a key.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Open(const Options& options);

  // The tenant, by the one header "Bearer KEY". UNAUTHENTICATED saying what is missing or wrong,
  // never what was sent.
  absl::StatusOr<std::string> TenantOf(std::span<const std::string_view> headers) const;

 private:
  Authenticator() = default;

  std::unique_ptr<ReloadedFile<ApiKeys>> api_keys_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_AUTH_AUTHENTICATOR_H_
