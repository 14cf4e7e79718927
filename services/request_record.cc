#include "services/request_record.h"

#include "engine/cache/session.h"

namespace kvasir {

std::string_view NameOf(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStopToken:
      return "stop_token";
    case FinishReason::kMaxNewTokens:
      return "max_new_tokens";
    case FinishReason::kMaxContext:
      return "max_context";
    case FinishReason::kUnspecified:
    case FinishReason::kInterrupted:
      break;
  }
  return "";
}

}  // namespace kvasir
