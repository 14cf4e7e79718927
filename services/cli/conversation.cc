#include "services/cli/conversation.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/check.h"

namespace kvasir::cli {
namespace {

// Two answers whose renderings share no last token.
constexpr std::string_view kStandIns[] = {"yes", "no"};

v1::ChatMessage Said(std::string_view role, std::string_view content) {
  v1::ChatMessage message;
  message.set_role(std::string(role));
  message.set_content(std::string(content));
  return message;
}

Conversation::TokenIds Ids(const v1::ApplyChatTemplateResponse& response) {
  return {response.ids().begin(), response.ids().end()};
}

}  // namespace

Conversation::Conversation(Tokenizer tokenizer, const std::string& system,
                           std::string template_arguments)
    : tokenizer_(std::move(tokenizer)), template_arguments_(std::move(template_arguments)) {
  if (!system.empty()) messages_.push_back({Said("system", system), std::nullopt});
}

std::string Conversation::system() const {
  const bool any = !messages_.empty() && messages_[0].said.role() == "system";
  return any ? messages_[0].said.content() : "";
}

void Conversation::Resume(uint64_t length, TokenIds last_ids) {
  KVASIR_CHECK(last_ids.size() <= length);
  unknown_ = length - last_ids.size();
  ids_ = std::move(last_ids);
  undecoded_.reset();
  messages_.resize(system().empty() ? 0 : 1);
  first_known_ = 0;
  if (length == 0) return;
  messages_.push_back({Said("user", "?"), std::nullopt});
  messages_.push_back({Said("assistant", kStandIns[0]), length});
  first_known_ = messages_.size();
}

void Conversation::Restore(std::vector<Message> messages, TokenIds ids) {
  messages_ = std::move(messages);
  first_known_ = 0;
  unknown_ = 0;
  ids_ = std::move(ids);
  undecoded_.reset();
}

grpc::Status Conversation::SetSystem(const std::string& system) {
  if (first_known_ > 0) {
    return {grpc::StatusCode::FAILED_PRECONDITION,
            "how this session began is not known, so what the model was told first cannot change"};
  }
  if (!this->system().empty()) messages_.erase(messages_.begin());
  if (!system.empty()) messages_.insert(messages_.begin(), {Said("system", system), std::nullopt});
  for (Message& message : messages_) message.end.reset();
  return grpc::Status::OK;
}

v1::ApplyChatTemplateRequest Conversation::Request(const v1::ChatMessage* question) const {
  v1::ApplyChatTemplateRequest request;
  for (const Message& message : messages_) *request.add_messages() = message.said;
  if (question != nullptr) *request.add_messages() = *question;
  request.set_template_arguments(template_arguments_);
  return request;
}

grpc::Status Conversation::Decode(uint64_t begin, uint64_t end, bool skip_special,
                                  std::string& text) const {
  v1::DecodeRequest request;
  request.mutable_ids()->Add(ids_.begin() + static_cast<ptrdiff_t>(begin - unknown_),
                             ids_.begin() + static_cast<ptrdiff_t>(end - unknown_));
  request.set_skip_special_tokens(skip_special);
  return tokenizer_.decode(request, text);
}

grpc::Status Conversation::Complete() {
  if (!undecoded_.has_value()) return grpc::Status::OK;
  grpc::Status status = LearnTemplate();
  const uint64_t end = std::max(*undecoded_, length() - Held(closing_));
  std::string text, all;
  if (status.ok()) status = Decode(*undecoded_, end, /*skip_special=*/true, text);
  if (status.ok()) status = Decode(*undecoded_, end, /*skip_special=*/false, all);
  if (!status.ok()) return status;
  // What special tokens there are behind an answer ends it. Those within are a part of what was
  // said: the template must show them for the session to stay as it is.
  messages_.back().said.set_content(all.starts_with(text) ? text : all);
  undecoded_.reset();
  return status;
}

grpc::Status Conversation::LearnTemplate() {
  if (invitation_.has_value()) return grpc::Status::OK;
  v1::ApplyChatTemplateRequest request;
  *request.add_messages() = Said("user", "?");
  request.set_template_arguments(template_arguments_);
  request.set_from_message(1);
  v1::ApplyChatTemplateResponse response;
  grpc::Status status = tokenizer_.apply(request, response);
  if (!status.ok()) return status;
  invitation_ = response.first_changed_message() == 1 ? Ids(response) : TokenIds();
  closing_.assign(response.closing_ids().begin(), response.closing_ids().end());
  const size_t opened = response.text().rfind("<think>");
  begins_thinking_ =
      opened != std::string::npos && response.text().find("</think>", opened) == std::string::npos;
  return status;
}

grpc::Status Conversation::NextTurn(std::string_view text, Turn& turn) {
  grpc::Status status = LearnTemplate();
  if (status.ok()) status = Complete();
  if (!status.ok()) return status;
  turn = Turn{.question = Said("user", text), .keep = length()};
  std::optional<TokenIds> appended;
  if (first_known_ > 0 && messages_.size() == first_known_) {
    appended.emplace();
    status = AfterUnknown(turn.question, *appended);
  } else {
    status = Append(turn.question, appended);
  }
  if (!status.ok()) return status;
  if (appended.has_value()) {
    turn.ids = *std::move(appended);
  } else {
    status = Rewrite(turn.question, turn);
    if (!status.ok()) return status;
  }
  const bool ends_with_invitation =
      invitation_->size() <= turn.ids.size() &&
      std::equal(invitation_->rbegin(), invitation_->rend(), turn.ids.rbegin());
  if (ends_with_invitation) {
    turn.question_end = turn.keep + turn.ids.size() - invitation_->size();
  }
  return status;
}

grpc::Status Conversation::Append(const v1::ChatMessage& question,
                                  std::optional<TokenIds>& ids) const {
  const size_t count = messages_.size();
  // The last answer, which follows a question whose end is known, is all that the session holds
  // behind it.
  if (count < 2 || messages_[count - 1].end != length()) return grpc::Status::OK;
  const std::optional<uint64_t> answer_begin = messages_[count - 2].end;
  if (!answer_begin.has_value() || *answer_begin < unknown_) return grpc::Status::OK;
  std::string held;
  grpc::Status status = Decode(*answer_begin, length(), /*skip_special=*/false, held);
  if (!status.ok()) return status;
  v1::ApplyChatTemplateRequest request = Request(&question);
  request.set_from_message(static_cast<uint32_t>(count - 1));
  v1::ApplyChatTemplateResponse with_answer, rest;
  status = tokenizer_.apply(request, with_answer);
  if (!status.ok()) return status;
  if (with_answer.first_changed_message() + 1 != count || !with_answer.text().starts_with(held)) {
    return status;
  }
  request.set_from_message(static_cast<uint32_t>(count));
  status = tokenizer_.apply(request, rest);
  if (!status.ok()) return status;
  if (rest.first_changed_message() != count) return status;
  TokenIds appended(closing_.begin() + static_cast<ptrdiff_t>(Held(closing_)), closing_.end());
  v1::DecodeRequest closing;
  closing.mutable_ids()->Add(appended.begin(), appended.end());
  std::string closing_text;
  status = tokenizer_.decode(closing, closing_text);
  if (!status.ok()) return status;
  if (held + closing_text + rest.text() != with_answer.text()) return status;
  appended.insert(appended.end(), rest.ids().begin(), rest.ids().end());
  ids = std::move(appended);
  return status;
}

size_t Conversation::Held(const TokenIds& ids) const {
  size_t held = std::min(ids.size(), ids_.size());
  while (held > 0 && !std::equal(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(held),
                                 ids_.end() - static_cast<ptrdiff_t>(held))) {
    --held;
  }
  return held;
}

// The template is asked twice, each time with another stand-in for the answer: what both renderings
// end with is what it puts after any answer.
grpc::Status Conversation::AfterUnknown(const v1::ChatMessage& question, TokenIds& ids) const {
  TokenIds renderings[2];
  for (int i = 0; i < 2; ++i) {
    v1::ApplyChatTemplateRequest request = Request(&question);
    request.mutable_messages(request.messages_size() - 2)->set_content(std::string(kStandIns[i]));
    v1::ApplyChatTemplateResponse response;
    grpc::Status status = tokenizer_.apply(request, response);
    if (!status.ok()) return status;
    renderings[i] = Ids(response);
  }
  const auto [first, second] = std::mismatch(renderings[0].rbegin(), renderings[0].rend(),
                                             renderings[1].rbegin(), renderings[1].rend());
  if (first == renderings[0].rend() || second == renderings[1].rend()) {
    return {grpc::StatusCode::FAILED_PRECONDITION,
            "the chat template does not show the assistant's answers"};
  }
  ids.assign(first.base(), renderings[0].end());
  ids.erase(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(Held(ids)));
  return grpc::Status::OK;
}

grpc::Status Conversation::Rewrite(const v1::ChatMessage& question, Turn& turn) const {
  v1::ApplyChatTemplateRequest request = Request(&question);
  auto from = static_cast<uint32_t>(messages_.size());
  while (true) {
    // Back to a question whose end is known: after it the template begins an answer anew.
    while (from > 0 &&
           !(messages_[from - 1].end.has_value() && messages_[from - 1].said.role() == "user")) {
      --from;
    }
    const uint64_t border = from > 0 ? *messages_[from - 1].end : 0;
    if (border < unknown_ || from < first_known_) return AfterUnknown(question, turn.ids);
    request.set_from_message(from);
    v1::ApplyChatTemplateResponse response;
    grpc::Status status = tokenizer_.apply(request, response);
    if (!status.ok()) return status;
    if (response.first_changed_message() < from) {
      from = response.first_changed_message();
      continue;
    }
    const TokenIds ids = Ids(response);
    const auto [held, wanted] =
        std::mismatch(ids_.begin() + static_cast<ptrdiff_t>(border - unknown_), ids_.end(),
                      ids.begin(), ids.end());
    turn.keep = unknown_ + static_cast<uint64_t>(held - ids_.begin());
    turn.ids.assign(wanted, ids.end());
    if (turn.ids.empty()) {  // The model needs a token to go on from.
      --turn.keep;
      turn.ids.push_back(ids.back());
    }
    return status;
  }
}

void Conversation::CutTo(uint64_t length) {
  KVASIR_CHECK(length <= this->length());
  if (length < unknown_) {
    unknown_ = length;
    ids_.clear();
  } else {
    ids_.resize(length - unknown_);
  }
  for (Message& message : messages_) {
    if (message.end.has_value() && *message.end > length) message.end.reset();
  }
}

void Conversation::AddTurn(const Turn& turn, const TokenIds& generated) {
  KVASIR_CHECK(turn.keep == length());
  messages_.push_back({turn.question, turn.question_end});
  ids_.insert(ids_.end(), turn.ids.begin(), turn.ids.end());
  undecoded_ = length();
  ids_.insert(ids_.end(), generated.begin(), generated.end());
  messages_.push_back({Said("assistant", ""), length()});
}

uint64_t Conversation::ForgetFrom(size_t index) {
  KVASIR_CHECK(index >= first_known_ && index <= messages_.size());
  if (index < messages_.size()) undecoded_.reset();
  messages_.resize(index);
  for (size_t i = index; i > 0; --i) {
    if (messages_[i - 1].end.has_value()) return *messages_[i - 1].end;
  }
  return 0;
}

}  // namespace kvasir::cli
