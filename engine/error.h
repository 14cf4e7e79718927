#ifndef KVASIR_ENGINE_ERROR_H_
#define KVASIR_ENGINE_ERROR_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace kvasir {

// What a client's program can act on; the names are the API's (ErrorInfo.reason).
enum class Reason {
  kSessionNotFound,
  kInvalidField,
  kLengthMismatch,
  kSessionBusy,
  kContextExceeded,
  kQueueFull,
  kQuota,
  kKvTooSmall,
  kDraining,
  kSessionExists,
  kStore,
  kNotOwner,
  kLeaseLost,
  kModelChanged,
  kSessionDamaged,
};

// "SESSION_NOT_FOUND" and so on.
std::string_view NameOf(Reason reason);

struct ErrorDetail {
  std::string reason;
  std::map<std::string, std::string> metadata;
  std::optional<absl::Duration> retry_after;
};

// A status with the code that the API's status table gives this reason, and the detail attached.
absl::Status MakeError(Reason reason, std::string_view message,
                       std::map<std::string, std::string> metadata = {},
                       std::optional<absl::Duration> retry_after = std::nullopt);

// The same error with `to` for every `from` in message and metadata. REQUIRES: !from.empty().
absl::Status Reworded(const absl::Status& status, std::string_view from, std::string_view to);

// The detail of a status that MakeError made; an empty reason where there is none.
ErrorDetail DetailOf(const absl::Status& status);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_ERROR_H_
