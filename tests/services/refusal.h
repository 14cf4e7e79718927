#ifndef KVASIR_TESTS_SERVICES_REFUSAL_H_
#define KVASIR_TESTS_SERVICES_REFUSAL_H_

#include <gmock/gmock.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "services/grpc_status.h"

namespace kvasir::testing {

// What an error status must say.
struct Refusal {
  grpc::StatusCode code;
  std::string reason;
  std::vector<std::string> mentions;            // in the message: field, value, limit
  std::map<std::string, std::string> metadata;  // at least these
};

inline void ExpectRefused(const grpc::Status& status, const Refusal& refusal) {
  const ErrorDetail detail = DetailOf(status);
  SCOPED_TRACE(status.error_message());
  EXPECT_EQ(status.error_code(), refusal.code);
  EXPECT_EQ(detail.reason, refusal.reason);
  for (const std::string& word : refusal.mentions) {
    EXPECT_THAT(status.error_message(), ::testing::HasSubstr(word));
  }
  for (const auto& entry : refusal.metadata) {
    EXPECT_THAT(detail.metadata, ::testing::Contains(entry));
  }
}

// INVALID_ARGUMENT / INVALID_FIELD about `field`.
inline void ExpectInvalid(const grpc::Status& status, const std::string& field,
                          std::vector<std::string> mentions) {
  mentions.push_back(field);
  ExpectRefused(status, {grpc::StatusCode::INVALID_ARGUMENT,
                         "INVALID_FIELD",
                         std::move(mentions),
                         {{"field", field}}});
}

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_REFUSAL_H_
