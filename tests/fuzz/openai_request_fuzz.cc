// Bodies of requests to the gateway, and answers that models may give: what is refused says why in
// JSON, and an answer's text does not depend on how it came.
#include <rapidjson/document.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/check.h"
#include "services/gateway/answer_reader.h"
#include "services/gateway/error_answer.h"
#include "services/gateway/openai_request.h"

namespace {

using kvasir::gateway::AnswerDelta;
using kvasir::gateway::AnswerParser;

void CheckRefusal(const absl::Status& status) {
  if (status.ok()) return;
  const kvasir::gateway::ErrorAnswer answer = kvasir::gateway::DescribeError(status, "messages");
  KVASIR_CHECK(answer.http_status == 400);
  rapidjson::Document json;
  json.Parse<rapidjson::kParseValidateEncodingFlag>(answer.json.data(), answer.json.size());
  KVASIR_CHECK(!json.HasParseError());
}

kvasir::gateway::AnswerPiece Parsed(std::string_view text, size_t step) {
  AnswerParser parser(/*begins_thinking=*/false, /*parses_tool_calls=*/true);
  AnswerDelta whole;
  for (size_t i = 0; i < text.size(); i += step) {
    Append({.piece = parser.Push(text.substr(i, step))}, whole);
  }
  Append({.piece = parser.Finish()}, whole);
  return whole.piece;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto chat = kvasir::gateway::ParseChatRequest(input);
  CheckRefusal(chat.status());
  if (chat.ok()) KVASIR_CHECK(!chat->conversation.messages.empty());
  const auto completion = kvasir::gateway::ParseCompletionRequest(input);
  CheckRefusal(completion.status());
  if (completion.ok()) KVASIR_CHECK(!completion->prompts.empty());
  const auto whole = Parsed(input, size + 1), bits = Parsed(input, 1);
  KVASIR_CHECK(whole.content == bits.content && whole.reasoning == bits.reasoning);
  KVASIR_CHECK(whole.tool_calls.size() == bits.tool_calls.size());
  return 0;
}
