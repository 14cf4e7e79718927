#ifndef KVASIR_SERVICES_GATEWAY_OPENAI_REQUEST_H_
#define KVASIR_SERVICES_GATEWAY_OPENAI_REQUEST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/sampling.h"
#include "tokenizer/chat_template.h"

namespace kvasir::gateway {

// What both kinds of completion take.
struct AnswerOptions {
  std::string model;  // empty: whichever there is
  SamplingOverrides sampling;
  std::optional<uint32_t> max_tokens;
  uint32_t n = 1;
  std::vector<std::string> stop;
  std::optional<uint32_t> top_logprobs;  // nothing: no log-probabilities
  bool stream = false;
  bool include_usage = false;  // in a chunk of its own, at a stream's end
  std::string session_id;      // an extension: the session that holds the conversation
};

// The body of POST /v1/chat/completions.
struct ChatRequest {
  AnswerOptions options;
  Conversation conversation;
  bool parses_tool_calls = false;
};

// The body of POST /v1/completions.
struct CompletionRequest {
  using Prompt = std::variant<std::string, std::vector<uint32_t>>;
  AnswerOptions options;
  std::vector<Prompt> prompts;  // one at least
};

// INVALID_ARGUMENT names the field of what is ill-formed, out of range, or means something that
// is not supported.
absl::StatusOr<ChatRequest> ParseChatRequest(std::string_view json);
absl::StatusOr<CompletionRequest> ParseCompletionRequest(std::string_view json);

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_OPENAI_REQUEST_H_
