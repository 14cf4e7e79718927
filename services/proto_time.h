#ifndef KVASIR_SERVICES_PROTO_TIME_H_
#define KVASIR_SERVICES_PROTO_TIME_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace kvasir {

// INVALID_FIELD naming `field` for what google/protobuf/duration.proto calls invalid: over 10,000
// years, nanos beyond a second, parts of different sign.
absl::StatusOr<absl::Duration> FromProto(std::string_view field,
                                         const google::protobuf::Duration& duration);

// To the nanosecond, within the range of the message.
google::protobuf::Duration ToProto(absl::Duration duration);
google::protobuf::Timestamp ToProto(absl::Time time);

}  // namespace kvasir

#endif  // KVASIR_SERVICES_PROTO_TIME_H_
