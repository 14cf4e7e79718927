#ifndef KVASIR_SERVICES_GRPC_STATUS_H_
#define KVASIR_SERVICES_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "engine/error.h"

namespace kvasir {

// The same code and message. Where the status carries an ErrorDetail, the details
// (grpc-status-details-bin) are a google.rpc.Status that holds a google.rpc.ErrorInfo of domain
// "kvasir" and, where a retry makes sense, a google.rpc.RetryInfo: https://google.aip.dev/193.
// What is too long for HTTP/2 trailers is cut.
grpc::Status ToGrpcStatus(const absl::Status& status);

// The client's side: what ToGrpcStatus put in. Empty where there are no details, or damaged ones,
// or another domain's.
ErrorDetail DetailOf(const grpc::Status& status);
// The status as it was on the other side. Reasons that this version does not know are lost.
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace kvasir

#endif  // KVASIR_SERVICES_GRPC_STATUS_H_
