// Any template over any conversation: pieces that a null character ends, first the template, then
// the messages, of which the first byte says what kind they are.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tokenizer/chat_template.h"

namespace kvasir {
namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

std::string_view TakePiece(std::string_view& data) {
  const size_t end = std::min(data.find('\0'), data.size());
  const std::string_view piece = data.substr(0, end);
  data.remove_prefix(std::min(end + 1, data.size()));
  return piece;
}

ChatMessage Message(std::string_view piece) {
  static constexpr const char* kRoles[] = {"user", "assistant", "system", "tool"};
  const auto kind = static_cast<uint8_t>(piece[0]);
  const std::string text(piece.substr(1));
  ChatMessage message = {.role = kRoles[kind & 3]};
  if ((kind & 4) != 0) message.content = text;
  if ((kind & 8) != 0) message.reasoning_content = text;
  if ((kind & 16) != 0) message.tool_calls = {{text, text, "{\"a\": 1}"}};
  if ((kind & 32) != 0) message.name = text;
  return message;
}

void Check(const ChatTemplate& chat_template, const Conversation& conversation) {
  const absl::StatusOr<RenderedChat> whole = chat_template.Render(conversation);
  for (size_t from = 0; from <= conversation.messages.size(); ++from) {
    const absl::StatusOr<RenderedRest> rest = chat_template.RenderFrom(conversation, from);
    // The clock may have gone on between the two.
    if (!rest.ok() || !whole.ok()) continue;
    Require(rest->first_message <= from);
    Require(rest->chat.text.size() <= whole->text.size());
    if (from == 0) Require(rest->chat.text.size() == whole->text.size());
    size_t end = 0;
    bool first = true;
    for (const ByteRange& range : rest->chat.trusted) {
      Require((first || range.begin > end) && range.begin < range.end);
      end = range.end;
      first = false;
    }
    Require(end <= rest->chat.text.size());
  }
}

}  // namespace
}  // namespace kvasir

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<kvasir::ChatTemplate> parsed =
      kvasir::ChatTemplate::Parse(kvasir::TakePiece(rest), {{"eos_token", "<|end|>"}});
  if (!parsed.ok()) return 0;
  kvasir::Conversation conversation;
  while (!rest.empty() && conversation.messages.size() < 8) {
    const std::string_view piece = kvasir::TakePiece(rest);
    if (!piece.empty()) conversation.messages.push_back(kvasir::Message(piece));
  }
  kvasir::Check(*parsed, conversation);
  return 0;
}
