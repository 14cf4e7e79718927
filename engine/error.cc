#include "engine/error.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"

namespace kvasir {
namespace {

// One payload a key: "kvasir/reason", "kvasir/retry_after_us", "kvasir/metadata/<key>".
constexpr char kReasonUrl[] = "kvasir/reason";
constexpr char kRetryUrl[] = "kvasir/retry_after_us";
constexpr std::string_view kMetadataUrl = "kvasir/metadata/";

absl::StatusCode CodeOf(Reason reason) {
  switch (reason) {
    case Reason::kSessionNotFound:
      return absl::StatusCode::kNotFound;
    case Reason::kInvalidField:
      return absl::StatusCode::kInvalidArgument;
    case Reason::kLengthMismatch:
    case Reason::kSessionBusy:
    case Reason::kLeaseLost:
      return absl::StatusCode::kAborted;
    case Reason::kContextExceeded:
      return absl::StatusCode::kOutOfRange;
    case Reason::kQueueFull:
    case Reason::kQuota:
    case Reason::kKvTooSmall:
      return absl::StatusCode::kResourceExhausted;
    case Reason::kDraining:
    case Reason::kStore:
    case Reason::kNotOwner:
      return absl::StatusCode::kUnavailable;
    case Reason::kSessionExists:
      return absl::StatusCode::kAlreadyExists;
    case Reason::kModelChanged:
      return absl::StatusCode::kFailedPrecondition;
    case Reason::kSessionDamaged:
      return absl::StatusCode::kDataLoss;
  }
  return absl::StatusCode::kInternal;
}

}  // namespace

std::string_view NameOf(Reason reason) {
  switch (reason) {
    case Reason::kSessionNotFound:
      return "SESSION_NOT_FOUND";
    case Reason::kInvalidField:
      return "INVALID_FIELD";
    case Reason::kLengthMismatch:
      return "LENGTH_MISMATCH";
    case Reason::kSessionBusy:
      return "SESSION_BUSY";
    case Reason::kContextExceeded:
      return "CONTEXT_EXCEEDED";
    case Reason::kQueueFull:
      return "QUEUE_FULL";
    case Reason::kQuota:
      return "QUOTA";
    case Reason::kKvTooSmall:
      return "KV_TOO_SMALL";
    case Reason::kDraining:
      return "DRAINING";
    case Reason::kSessionExists:
      return "SESSION_EXISTS";
    case Reason::kStore:
      return "STORE";
    case Reason::kNotOwner:
      return "NOT_OWNER";
    case Reason::kLeaseLost:
      return "LEASE_LOST";
    case Reason::kModelChanged:
      return "MODEL_CHANGED";
    case Reason::kSessionDamaged:
      return "SESSION_DAMAGED";
  }
  return "";
}

absl::Status MakeError(Reason reason, std::string_view message,
                       std::map<std::string, std::string> metadata,
                       std::optional<absl::Duration> retry_after) {
  absl::Status status(CodeOf(reason), absl::string_view(message.data(), message.size()));
  status.SetPayload(kReasonUrl, absl::Cord(std::string(NameOf(reason))));
  if (retry_after) {
    status.SetPayload(kRetryUrl,
                      absl::Cord(std::to_string(absl::ToInt64Microseconds(*retry_after))));
  }
  for (const auto& [key, value] : metadata) {
    status.SetPayload(std::string(kMetadataUrl) + key, absl::Cord(value));
  }
  return status;
}

absl::Status Reworded(const absl::Status& status, std::string_view from, std::string_view to) {
  const auto reword = [&](absl::string_view text) {
    return absl::StrReplaceAll(text, {{absl::string_view(from.data(), from.size()),
                                       absl::string_view(to.data(), to.size())}});
  };
  absl::Status reworded(status.code(), reword(status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    reworded.SetPayload(url, absl::Cord(reword(std::string(payload))));
  });
  return reworded;
}

ErrorDetail DetailOf(const absl::Status& status) {
  ErrorDetail detail;
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    const std::string_view key(url.data(), url.size());
    const std::string value(payload);
    int64_t micros = 0;
    if (key == kReasonUrl) {
      detail.reason = value;
    } else if (key == kRetryUrl && absl::SimpleAtoi(value, &micros)) {
      detail.retry_after = absl::Microseconds(micros);
    } else if (key.starts_with(kMetadataUrl)) {
      detail.metadata[std::string(key.substr(kMetadataUrl.size()))] = value;
    }
  });
  return detail;
}

}  // namespace kvasir
