#ifndef KVASIR_SERVICES_CLI_ANSWER_JSON_H_
#define KVASIR_SERVICES_CLI_ANSWER_JSON_H_

#include <google/protobuf/message.h>

#include <string>

#include "services/cli/generation.h"

namespace kvasir::cli {

// A message as Protobuf writes JSON, by its fields' own names: 64-bit integers are strings.
std::string Json(const google::protobuf::Message& message, bool multi_line = false);

// {"session_id", "text", "ids", "logprobs", "prompt_logprobs"} of what came, then what
// GenerateComplete says, in one line. `chunk` is all chunks as one.
std::string AnswerJson(const Generation& generation, const std::string& text,
                       const v1::TokenChunk& chunk);

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_ANSWER_JSON_H_
