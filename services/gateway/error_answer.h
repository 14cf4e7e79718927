#ifndef KVASIR_SERVICES_GATEWAY_ERROR_ANSWER_H_
#define KVASIR_SERVICES_GATEWAY_ERROR_ANSWER_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace kvasir::gateway {

// An error as the OpenAI API has it: {"error": {"message", "type", "param", "code"}}.
struct ErrorAnswer {
  int http_status = 500;
  std::string json;
  std::optional<absl::Duration> retry_after;
};

// What a status says of a service's field is told of the request's: sampling.top_p is top_p,
// input_ids is `prompt_field`. REQUIRES: !status.ok().
ErrorAnswer DescribeError(const absl::Status& status, std::string_view prompt_field);

// Of a request that did not come so far. `code`: may be empty.
ErrorAnswer MakeErrorAnswer(int http_status, std::string_view message, std::string_view code);

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_ERROR_ANSWER_H_
