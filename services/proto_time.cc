#include "services/proto_time.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/error.h"

namespace kvasir {
namespace {

// 10,000 years; the limits are those of duration.proto and timestamp.proto.
constexpr int64_t kMaxDurationSeconds = 315'576'000'000;
constexpr int64_t kMinTimestampSeconds = -62'135'596'800;  // 0001-01-01T00:00:00Z
constexpr int64_t kMaxTimestampSeconds = 253'402'300'799;  // 9999-12-31T23:59:59Z
constexpr int32_t kNanosInSecond = 1'000'000'000;

}  // namespace

absl::StatusOr<absl::Duration> FromProto(std::string_view field,
                                         const google::protobuf::Duration& duration) {
  const int64_t seconds = duration.seconds();
  const int32_t nanos = duration.nanos();
  const bool in_range = seconds >= -kMaxDurationSeconds && seconds <= kMaxDurationSeconds &&
                        nanos > -kNanosInSecond && nanos < kNanosInSecond;
  const bool one_sign = !(seconds < 0 && nanos > 0) && !(seconds > 0 && nanos < 0);
  if (!in_range || !one_sign) {
    return MakeError(
        Reason::kInvalidField,
        absl::StrCat(std::string(field), ": ", seconds, " seconds and ", nanos,
                     " nanos are no duration within ", kMaxDurationSeconds, " seconds"),
        {{"field", std::string(field)}});
  }
  return absl::Seconds(seconds) + absl::Nanoseconds(nanos);
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  const absl::Duration limit = absl::Seconds(kMaxDurationSeconds);
  duration = std::clamp(duration, -limit, limit);
  absl::Duration rest;
  google::protobuf::Duration proto;
  proto.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &rest));
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
  return proto;
}

google::protobuf::Timestamp ToProto(absl::Time time) {
  time = std::clamp(time, absl::FromUnixSeconds(kMinTimestampSeconds),
                    absl::FromUnixSeconds(kMaxTimestampSeconds));
  const int64_t seconds = absl::ToUnixSeconds(time);  // towards the past
  google::protobuf::Timestamp proto;
  proto.set_seconds(seconds);
  proto.set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
  return proto;
}

}  // namespace kvasir
