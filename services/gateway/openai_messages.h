#ifndef KVASIR_SERVICES_GATEWAY_OPENAI_MESSAGES_H_
#define KVASIR_SERVICES_GATEWAY_OPENAI_MESSAGES_H_

#include <rapidjson/document.h>

#include <vector>

#include "absl/status/statusor.h"
#include "tokenizer/chat_template.h"

namespace kvasir::gateway {

// The messages of a conversation as the OpenAI API has them; "developer" is "system". Errors: see
// ParseChatRequest. REQUIRES: `array` is an array.
absl::StatusOr<std::vector<ChatMessage>> ReadMessages(const rapidjson::Value& array);

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_OPENAI_MESSAGES_H_
