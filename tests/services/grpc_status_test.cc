#include "services/grpc_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "kvasir/v1/error_details.pb.h"

namespace kvasir {
namespace {

using ::testing::EndsWith;
using ::testing::SizeIs;

TEST(GrpcStatus, OkIsOk) {
  const grpc::Status status = ToGrpcStatus(absl::OkStatus());
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.error_details(), "");
}

TEST(GrpcStatus, EveryCodeKeepsItsName) {
  const std::pair<absl::StatusCode, grpc::StatusCode> codes[] = {
      {absl::StatusCode::kCancelled, grpc::CANCELLED},
      {absl::StatusCode::kUnknown, grpc::UNKNOWN},
      {absl::StatusCode::kInvalidArgument, grpc::INVALID_ARGUMENT},
      {absl::StatusCode::kDeadlineExceeded, grpc::DEADLINE_EXCEEDED},
      {absl::StatusCode::kNotFound, grpc::NOT_FOUND},
      {absl::StatusCode::kAlreadyExists, grpc::ALREADY_EXISTS},
      {absl::StatusCode::kPermissionDenied, grpc::PERMISSION_DENIED},
      {absl::StatusCode::kResourceExhausted, grpc::RESOURCE_EXHAUSTED},
      {absl::StatusCode::kFailedPrecondition, grpc::FAILED_PRECONDITION},
      {absl::StatusCode::kAborted, grpc::ABORTED},
      {absl::StatusCode::kOutOfRange, grpc::OUT_OF_RANGE},
      {absl::StatusCode::kUnimplemented, grpc::UNIMPLEMENTED},
      {absl::StatusCode::kInternal, grpc::INTERNAL},
      {absl::StatusCode::kUnavailable, grpc::UNAVAILABLE},
      {absl::StatusCode::kDataLoss, grpc::DATA_LOSS},
      {absl::StatusCode::kUnauthenticated, grpc::UNAUTHENTICATED},
  };
  for (const auto& [from, to] : codes) {
    EXPECT_EQ(ToGrpcStatus(absl::Status(from, "why")).error_code(), to);
  }
}

TEST(GrpcStatus, DetailsAreGooglesMessagesUnderGooglesUrls) {
  const absl::Status error = MakeError(Reason::kQueueFull, "the queue is full",
                                       {{"max_queue", "7"}}, absl::Milliseconds(1500));
  const grpc::Status status = ToGrpcStatus(error);
  v1::RpcStatus details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(details.message(), "the queue is full");
  ASSERT_THAT(details.details(), SizeIs(2));

  EXPECT_EQ(details.details(0).type_url(), "type.googleapis.com/google.rpc.ErrorInfo");
  v1::ErrorInfo info;
  ASSERT_TRUE(info.ParseFromString(details.details(0).value()));
  EXPECT_EQ(info.domain(), "kvasir");
  EXPECT_EQ(info.reason(), "QUEUE_FULL");
  EXPECT_EQ(info.metadata().at("max_queue"), "7");

  EXPECT_EQ(details.details(1).type_url(), "type.googleapis.com/google.rpc.RetryInfo");
  v1::RetryInfo retry;
  ASSERT_TRUE(retry.ParseFromString(details.details(1).value()));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500'000'000);
}

TEST(GrpcStatus, IsTheSameOnTheOtherSide) {
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
  const absl::Status plain = absl::NotFoundError("there is none");
  EXPECT_EQ(FromGrpcStatus(ToGrpcStatus(plain)), plain);
  for (const Reason reason : {Reason::kSessionNotFound, Reason::kQuota, Reason::kSessionDamaged}) {
    const absl::Status error = MakeError(reason, "why", {{"field", "n"}}, absl::Seconds(2));
    EXPECT_EQ(FromGrpcStatus(ToGrpcStatus(error)), error);
  }
}

TEST(GrpcStatus, ClientReadsBackWhatTheServerSaid) {
  const ErrorDetail detail = DetailOf(ToGrpcStatus(
      MakeError(Reason::kLengthMismatch, "no", {{"session_length", "12"}}, absl::Seconds(2))));
  EXPECT_EQ(detail.reason, "LENGTH_MISMATCH");
  EXPECT_EQ(detail.metadata.at("session_length"), "12");
  EXPECT_EQ(detail.retry_after, absl::Seconds(2));
}

TEST(GrpcStatus, WithoutDetailThereAreNone) {
  const grpc::Status status = ToGrpcStatus(absl::InternalError("a bug"));
  EXPECT_EQ(status.error_details(), "");
  EXPECT_EQ(DetailOf(status).reason, "");
}

TEST(GrpcStatus, DamagedOrForeignDetailsAreNone) {
  EXPECT_EQ(DetailOf(grpc::Status(grpc::ABORTED, "", "\xff\xff\xff")).reason, "");
  v1::ErrorInfo info;
  info.set_domain("elsewhere");
  info.set_reason("SESSION_BUSY");
  v1::RpcStatus details;
  details.add_details()->set_type_url("type.googleapis.com/google.rpc.ErrorInfo");
  details.mutable_details(0)->set_value(info.SerializeAsString());
  EXPECT_EQ(DetailOf(grpc::Status(grpc::ABORTED, "", details.SerializeAsString())).reason, "");
}

// Clients refuse trailers over 8 KiB, and with them the reason.
TEST(GrpcStatus, LongMessagesAreCutBetweenCharacters) {
  std::string text;
  while (text.size() < 100'000) text += "\xC3\xA9";  // é
  const grpc::Status status =
      ToGrpcStatus(MakeError(Reason::kInvalidField, text, {{"field", text}}));
  EXPECT_LT(status.error_message().size() + status.error_details().size(), 8192u);
  EXPECT_THAT(status.error_message(), EndsWith("\xA9..."));
  EXPECT_THAT(DetailOf(status).metadata.at("field"), EndsWith("\xA9..."));
}

}  // namespace
}  // namespace kvasir
