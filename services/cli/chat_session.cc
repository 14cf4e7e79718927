#include "services/cli/chat_session.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>
#include <utility>

#include "services/cli/random_id.h"
#include "services/cli/saved_chat.h"
#include "services/grpc_status.h"

namespace kvasir::cli {
namespace {

using ModelStub = v1::ModelService::Stub;
using TokenizerStub = v1::TokenizerService::Stub;

// A template's closing is no longer than this.
constexpr uint64_t kLastIds = 64;
constexpr std::chrono::milliseconds kIdlePoll(20);
constexpr int kIdlePolls = 500;

grpc::Status NoTurn(const std::string& why) {
  return {grpc::StatusCode::FAILED_PRECONDITION, "there is no turn of this chat to " + why};
}

}  // namespace

ChatSession::ChatSession(Connection& connection, SamplingFlags sampling, const std::string& system,
                         const std::string& template_arguments)
    : connection_(connection),
      sampling_(std::move(sampling)),
      conversation_(Tokenizer(), system, template_arguments) {}

Conversation::Tokenizer ChatSession::Tokenizer() {
  return {
      [this](const v1::ApplyChatTemplateRequest& request, v1::ApplyChatTemplateResponse& response) {
        return connection_.Call(connection_.tokenizer(), &TokenizerStub::ApplyChatTemplate, request,
                                response);
      },
      [this](const v1::DecodeRequest& request, std::string& text) {
        v1::DecodeResponse response;
        grpc::Status status =
            connection_.Call(connection_.tokenizer(), &TokenizerStub::Decode, request, response);
        text = response.text();
        return status;
      }};
}

grpc::Status ChatSession::Open(const std::string& session_id) {
  if (!session_id.empty()) {
    id_ = session_id;
    grpc::Status status = TakeUp();
    if (status.error_code() != grpc::StatusCode::NOT_FOUND) return status;
  }
  grpc::Status status = Create(session_id, {});
  // By a try of ours whose answer was lost, or by somebody of the same mind.
  if (status.error_code() == grpc::StatusCode::ALREADY_EXISTS) status = TakeUp();
  return status;
}

grpc::Status ChatSession::Create(const std::string& id, const TokenIds& ids) {
  id_ = id.empty() ? RandomId() : id;
  v1::CreateSessionRequest request;
  request.set_session_id(id_);
  request.mutable_initial_ids()->Add(ids.begin(), ids.end());
  v1::CreateSessionResponse response;
  return connection_.Call(connection_.model(), &ModelStub::CreateSession, request, response);
}

grpc::Status ChatSession::TakeUp() {
  v1::Session session;
  grpc::Status status = Describe(session);
  if (!status.ok()) return status;
  TokenIds last_ids;
  status = ReadIds(session.length() > kLastIds ? session.length() - kLastIds : 0, last_ids);
  if (status.ok()) conversation_.Resume(session.length(), std::move(last_ids));
  return status;
}

grpc::Status ChatSession::ReadIds(uint64_t offset, TokenIds& ids) {
  grpc::Status status;
  do {
    status = ReadSession(connection_.model(), id_, offset, ids);
  } while (!status.ok() && IsTransient(status) && connection_.retries().Again(status));
  if (status.ok()) connection_.retries().Progress();
  return status;
}

Generation ChatSession::Say(const std::string& text, const ShowText& show) {
  return Say(text, std::nullopt, show);
}

Generation ChatSession::Say(const std::string& text, std::optional<uint64_t> seed,
                            const ShowText& show) {
  Generation generation;
  Conversation::Turn turn;
  generation.status = Settle();
  if (generation.status.ok()) generation.status = conversation_.NextTurn(text, turn);
  if (generation.status.ok()) generation.status = CutTo(turn.keep);
  if (!generation.status.ok()) return generation;
  v1::GenerateRequest request;
  request.set_session_id(id_);
  request.set_request_id(RandomId());
  request.set_expected_length(turn.keep);
  request.mutable_input_ids()->Add(turn.ids.begin(), turn.ids.end());
  generation.status = sampling_.Fill(connection_, request);
  if (!generation.status.ok()) return generation;
  if (seed.has_value()) request.mutable_sampling()->set_seed(*seed);
  generation = StreamTextOf(connection_, request, show);
  if (generation.complete.has_value()) {
    conversation_.AddTurn(turn, generation.ids);
    return generation;
  }
  // What Ctrl-C was for is done; the calls that settle the session must not be cancelled.
  const bool interrupted = Interrupts::Get().pending();
  Interrupts::Get().Clear();
  unsettled_ = Unsettled{request.request_id(), std::move(turn), generation.ids};
  const Retries::Off once(connection_.retries());  // it has been waited for, or must not be
  const grpc::Status settled = Settle();
  if (interrupted) {
    generation.status = settled.ok() || IsTransient(settled)
                            ? grpc::Status(grpc::StatusCode::CANCELLED, "interrupted")
                            : settled;
  }
  return generation;
}

Generation ChatSession::Retry(const ShowText& show) {
  Generation generation;
  generation.status = Settle();
  const std::vector<size_t> indices = QuestionIndices();
  if (generation.status.ok() && indices.empty()) generation.status = NoTurn("ask again");
  if (!generation.status.ok()) return generation;
  const std::string text = conversation_.messages()[indices.back()].said.content();
  generation.status = ForgetFrom(indices.back());
  if (!generation.status.ok()) return generation;
  // By the session's own seed the same answer would come again.
  return Say(text, std::random_device()(), show);
}

Generation ChatSession::Edit(size_t number, const std::string& text, const ShowText& show) {
  Generation generation;
  generation.status = Settle();
  const std::vector<size_t> indices = QuestionIndices();
  if (generation.status.ok() && (number < 1 || number > indices.size())) {
    generation.status = {grpc::StatusCode::INVALID_ARGUMENT,
                         "there is no question " + std::to_string(number) + " among the " +
                             std::to_string(indices.size()) + " of this chat"};
  }
  if (generation.status.ok()) generation.status = ForgetFrom(indices[number - 1]);
  return generation.status.ok() ? Say(text, std::nullopt, show) : generation;
}

std::vector<size_t> ChatSession::QuestionIndices() const {
  std::vector<size_t> indices;
  for (size_t i = conversation_.first_known(); i < conversation_.messages().size(); ++i) {
    if (conversation_.messages()[i].said.role() == "user") indices.push_back(i);
  }
  return indices;
}

std::vector<std::string> ChatSession::questions() const {
  std::vector<std::string> questions;
  for (const size_t index : QuestionIndices()) {
    questions.push_back(conversation_.messages()[index].said.content());
  }
  return questions;
}

grpc::Status ChatSession::WaitUntilIdle(v1::Session& session) {
  grpc::Status status;
  for (int i = 0; i < kIdlePolls; ++i) {
    status = Describe(session);
    if (!status.ok() || !session.busy()) return status;
    std::this_thread::sleep_for(kIdlePoll);
  }
  return grpc::Status(grpc::StatusCode::ABORTED, "the session stays busy");
}

// The session holds what it held, or input and answer, of which more may have been generated than
// was shown, or, after a crash, less. Where another client's turn came between, nothing of it is
// touched.
grpc::Status ChatSession::Settle() {
  if (!unsettled_.has_value()) return grpc::Status::OK;
  v1::Session session;
  grpc::Status status = WaitUntilIdle(session);
  const auto& [request_id, turn, shown] = *unsettled_;
  const uint64_t before = conversation_.length();
  const uint64_t start = before + turn.ids.size();
  const bool ours = session.last_request_id() == request_id && session.length() >= start;
  if (!status.ok()) return status;
  if (session.length() != before && ours) {
    const uint64_t after =
        shown.empty() ? before : std::min<uint64_t>(start + shown.size(), session.length());
    status = Truncate(after, session.length());
    if (!status.ok()) return status;
    const auto kept = static_cast<ptrdiff_t>(after - std::min(start, after));
    if (after > before) conversation_.AddTurn(turn, {shown.begin(), shown.begin() + kept});
  }
  unsettled_.reset();
  return status;
}

grpc::Status ChatSession::Truncate(uint64_t length, uint64_t expected_length) {
  if (length == expected_length) return grpc::Status::OK;
  v1::TruncateSessionRequest request;
  request.set_session_id(id_);
  request.set_length(length);
  request.set_expected_length(expected_length);
  v1::TruncateSessionResponse response;
  bool repeated = false;
  grpc::Status status = connection_.Call(connection_.model(), &ModelStub::TruncateSession, request,
                                         response, &repeated);
  // A try whose answer was lost has done it.
  const ErrorDetail detail = DetailOf(status);
  const auto found = detail.metadata.find("session_length");
  const bool done_before = repeated && detail.reason == NameOf(Reason::kLengthMismatch) &&
                           found != detail.metadata.end() &&
                           found->second == std::to_string(length);
  return done_before ? grpc::Status::OK : status;
}

grpc::Status ChatSession::CutTo(uint64_t length) {
  grpc::Status status = Truncate(length, conversation_.length());
  if (status.ok()) conversation_.CutTo(length);
  return status;
}

grpc::Status ChatSession::ForgetFrom(size_t index) {
  return CutTo(conversation_.ForgetFrom(index));
}

grpc::Status ChatSession::Back() {
  const grpc::Status settled = Settle();
  if (!settled.ok()) return settled;
  const std::vector<size_t> indices = QuestionIndices();
  return indices.empty() ? NoTurn("take back") : ForgetFrom(indices.back());
}

grpc::Status ChatSession::Reset() {
  const grpc::Status settled = Settle();
  if (!settled.ok()) return settled;
  grpc::Status status = Truncate(0, length());
  if (status.ok()) conversation_.Resume(0, {});
  return status;
}

grpc::Status ChatSession::Fork(const std::string& new_session_id) {
  const grpc::Status settled = Settle();
  if (!settled.ok()) return settled;
  v1::ForkSessionRequest request;
  request.set_session_id(id_);
  request.set_new_session_id(new_session_id.empty() ? RandomId() : new_session_id);
  request.set_length(length());
  v1::ForkSessionResponse response;
  bool repeated = false;
  grpc::Status status =
      connection_.Call(connection_.model(), &ModelStub::ForkSession, request, response, &repeated);
  if (repeated && status.error_code() == grpc::StatusCode::ALREADY_EXISTS) {
    // By a try whose answer was lost?
    v1::Session found;
    const grpc::Status seen = Describe(request.new_session_id(), found);
    if (!seen.ok()) return seen;
    if (found.parent_session_id() == id_ && found.length() == length()) status = grpc::Status::OK;
  }
  if (status.ok()) id_ = request.new_session_id();
  return status;
}

grpc::Status ChatSession::Describe(const std::string& id, v1::Session& session) {
  v1::GetSessionRequest request;
  request.set_session_id(id);
  v1::GetSessionResponse response;
  grpc::Status status =
      connection_.Call(connection_.model(), &ModelStub::GetSession, request, response);
  session = response.session();
  return status;
}

grpc::Status ChatSession::TokenizerFingerprint(std::string& fingerprint) {
  v1::GetTokenizerInfoResponse info;
  grpc::Status status = connection_.Call(connection_.tokenizer(), &TokenizerStub::GetTokenizerInfo,
                                         v1::GetTokenizerInfoRequest(), info);
  fingerprint = info.fingerprint();
  return status;
}

grpc::Status ChatSession::Save(const std::string& path) {
  grpc::Status status = Settle();
  if (status.ok() && conversation_.first_known() > 0) {
    status = {grpc::StatusCode::FAILED_PRECONDITION,
              "how this session began is not known, so only the session itself keeps it"};
  }
  if (status.ok()) status = conversation_.Complete();
  SavedChat chat = {
      .session_id = id_, .messages = conversation_.messages(), .ids = conversation_.ids()};
  if (status.ok()) status = TokenizerFingerprint(chat.tokenizer);
  return status.ok() ? WriteSavedChat(chat, path) : status;
}

grpc::Status ChatSession::Load(const std::string& path) {
  SavedChat chat;
  grpc::Status status = Settle();
  if (status.ok()) status = ReadSavedChat(path, chat);
  std::string tokenizer;
  if (status.ok()) status = TokenizerFingerprint(tokenizer);
  if (!status.ok()) return status;
  if (tokenizer != chat.tokenizer) {  // Its ids mean nothing here; what was said does.
    chat.ids.clear();
    for (Conversation::Message& message : chat.messages) message.end.reset();
  }
  const std::string left = std::exchange(id_, chat.session_id);
  v1::Session session;
  TokenIds ids;
  status = Describe(session);
  const bool same_length = status.ok() && session.length() == chat.ids.size() && !session.busy();
  if (same_length) status = ReadIds(0, ids);
  if (!same_length || !status.ok() || ids != chat.ids) status = Create("", chat.ids);
  if (status.ok()) {
    conversation_.Restore(std::move(chat.messages), std::move(chat.ids));
  } else {
    id_ = left;
  }
  return status;
}

}  // namespace kvasir::cli
