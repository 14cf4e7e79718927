#include "services/cli/conversation.h"

#include <algorithm>
#include <utility>

#include "engine/check.h"

namespace kvasir::cli {
namespace {

// Two answers whose renderings share no last token.
constexpr std::string_view kStandIns[] = {"yes", "no"};

v1::ChatMessage Message(std::string_view role, std::string_view content) {
  v1::ChatMessage message;
  message.set_role(std::string(role));
  message.set_content(std::string(content));
  return message;
}

}  // namespace

void Conversation::Resume(uint64_t length, TokenIds last_ids) {
  KVASIR_CHECK(last_ids.size() <= length);
  unknown_ = length - last_ids.size();
  ids_ = std::move(last_ids);
  turn_starts_.clear();
}

grpc::Status Conversation::AfterAnswer(const v1::ChatMessage& next, TokenIds& ids) const {
  TokenIds renderings[2];
  for (int i = 0; i < 2; ++i) {
    std::vector<v1::ChatMessage> messages;
    if (!system_.empty()) messages.push_back(Message("system", system_));
    messages.push_back(Message("user", "?"));
    messages.push_back(Message("assistant", kStandIns[i]));
    messages.push_back(next);
    grpc::Status status = render_(messages, renderings[i]);
    if (!status.ok()) return status;
  }
  const auto [first, second] = std::mismatch(renderings[0].rbegin(), renderings[0].rend(),
                                             renderings[1].rbegin(), renderings[1].rend());
  if (first == renderings[0].rend() || second == renderings[1].rend()) {
    return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION,
                        "the chat template does not show the assistant's answers");
  }
  ids.assign(first.base(), renderings[0].end());
  return grpc::Status::OK;
}

grpc::Status Conversation::NextTurn(std::string_view text, TokenIds& ids) const {
  const v1::ChatMessage next = Message("user", text);
  if (length() == 0) {
    std::vector<v1::ChatMessage> messages;
    if (!system_.empty()) messages.push_back(Message("system", system_));
    messages.push_back(next);
    return render_(messages, ids);
  }
  grpc::Status status = AfterAnswer(next, ids);
  if (!status.ok()) return status;
  // The most that is both the session's end and the start of what comes after the answer.
  size_t held = std::min(ids.size(), ids_.size());
  while (held > 0 && !std::equal(ids.begin(), ids.begin() + held, ids_.end() - held)) --held;
  ids.erase(ids.begin(), ids.begin() + held);
  return grpc::Status::OK;
}

void Conversation::AddTurn(const TokenIds& sent, const TokenIds& generated) {
  turn_starts_.push_back(length());
  ids_.insert(ids_.end(), sent.begin(), sent.end());
  ids_.insert(ids_.end(), generated.begin(), generated.end());
}

std::optional<uint64_t> Conversation::BeforeLastTurn() const {
  if (turn_starts_.empty()) return std::nullopt;
  return turn_starts_.back();
}

void Conversation::RemoveLastTurn() {
  KVASIR_CHECK(!turn_starts_.empty());
  ids_.resize(turn_starts_.back() - unknown_);
  turn_starts_.pop_back();
}

void Conversation::Clear() {
  unknown_ = 0;
  ids_.clear();
  turn_starts_.clear();
}

}  // namespace kvasir::cli
