#include "services/grpc_status.h"

#include <string>
#include <string_view>
#include <utility>

#include "kvasir/v1/error_details.pb.h"
#include "services/proto_time.h"

namespace kvasir {
namespace {

constexpr char kDomain[] = "kvasir";
constexpr char kErrorInfoUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";
constexpr char kRetryInfoUrl[] = "type.googleapis.com/google.rpc.RetryInfo";

// Clients refuse a call's trailers over 8 KiB, and the message is in them twice.
constexpr size_t kMaxMessageBytes = 2048;
constexpr size_t kMaxMetadataBytes = 256;

// At most `limit` bytes, and no half character at the cut.
std::string Cut(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  constexpr std::string_view kMark = "...";
  size_t end = limit - kMark.size();
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)).append(kMark);
}

void AddDetail(v1::RpcStatus& status, const char* type_url,
               const google::protobuf::Message& message) {
  google::protobuf::Any& any = *status.add_details();
  any.set_type_url(type_url);
  message.SerializeToString(any.mutable_value());
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto code = static_cast<grpc::StatusCode>(status.code());  // the same numbers
  const std::string message =
      Cut({status.message().data(), status.message().size()}, kMaxMessageBytes);
  const ErrorDetail detail = DetailOf(status);
  if (detail.reason.empty()) return {code, message};

  v1::RpcStatus details;
  details.set_code(code);
  details.set_message(message);
  v1::ErrorInfo info;
  info.set_domain(kDomain);
  info.set_reason(detail.reason);
  for (const auto& [key, value] : detail.metadata) {
    (*info.mutable_metadata())[key] = Cut(value, kMaxMetadataBytes);
  }
  AddDetail(details, kErrorInfoUrl, info);
  if (detail.retry_after) {
    v1::RetryInfo retry;
    *retry.mutable_retry_delay() = ToProto(*detail.retry_after);
    AddDetail(details, kRetryInfoUrl, retry);
  }
  return {code, message, details.SerializeAsString()};
}

ErrorDetail DetailOf(const grpc::Status& status) {
  ErrorDetail detail;
  v1::RpcStatus details;
  if (!details.ParseFromString(status.error_details())) return detail;
  for (const google::protobuf::Any& any : details.details()) {
    v1::ErrorInfo info;
    v1::RetryInfo retry;
    if (any.type_url() == kErrorInfoUrl && info.ParseFromString(any.value()) &&
        info.domain() == kDomain) {
      detail.reason = info.reason();
      detail.metadata.insert(info.metadata().begin(), info.metadata().end());
    } else if (any.type_url() == kRetryInfoUrl && retry.ParseFromString(any.value())) {
      detail.retry_after = absl::Seconds(retry.retry_delay().seconds()) +
                           absl::Nanoseconds(retry.retry_delay().nanos());
    }
  }
  return detail;
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  ErrorDetail detail = DetailOf(status);
  constexpr Reason kLast = Reason::kSessionDamaged;
  for (int i = 0; i <= static_cast<int>(kLast); ++i) {
    const auto reason = static_cast<Reason>(i);
    if (NameOf(reason) != detail.reason) continue;
    return MakeError(reason, status.error_message(), std::move(detail.metadata),
                     detail.retry_after);
  }
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

}  // namespace kvasir
