#include "services/cli/chat_session.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "services/cli/random_id.h"
#include "services/grpc_status.h"

namespace kvasir::cli {
namespace {

using ModelStub = v1::ModelService::Stub;

// A template's closing is no longer than this.
constexpr uint64_t kLastIds = 64;
constexpr std::chrono::milliseconds kIdlePoll(20);
constexpr int kIdlePolls = 500;

}  // namespace

ChatSession::ChatSession(Connection& connection, SamplingFlags sampling, const std::string& system)
    : connection_(connection),
      sampling_(std::move(sampling)),
      conversation_([this](const std::vector<v1::ChatMessage>& messages,
                           TokenIds& ids) { return Render(messages, ids); },
                    system) {}

grpc::Status ChatSession::Render(const std::vector<v1::ChatMessage>& messages, TokenIds& ids) {
  v1::ApplyChatTemplateRequest request;
  for (const v1::ChatMessage& message : messages) *request.add_messages() = message;
  request.set_add_generation_prompt(true);
  v1::ApplyChatTemplateResponse response;
  grpc::Status status = connection_.Call(
      connection_.tokenizer(), &v1::TokenizerService::Stub::ApplyChatTemplate, request, response);
  ids.assign(response.ids().begin(), response.ids().end());
  return status;
}

grpc::Status ChatSession::Open(const std::string& session_id) {
  id_ = session_id.empty() ? RandomId() : session_id;
  if (!session_id.empty()) {
    grpc::Status status = TakeUp();
    if (status.error_code() != grpc::StatusCode::NOT_FOUND) return status;
  }
  v1::CreateSessionRequest request;
  request.set_session_id(id_);
  v1::CreateSessionResponse response;
  grpc::Status status =
      connection_.Call(connection_.model(), &ModelStub::CreateSession, request, response);
  // By a try of ours whose answer was lost, or by somebody of the same mind.
  if (status.error_code() == grpc::StatusCode::ALREADY_EXISTS) status = TakeUp();
  return status;
}

grpc::Status ChatSession::TakeUp() {
  v1::Session session;
  grpc::Status status = Describe(session);
  if (!status.ok()) return status;
  TokenIds last_ids;
  status = ReadLastIds(session.length(), last_ids);
  if (status.ok()) conversation_.Resume(session.length(), std::move(last_ids));
  return status;
}

grpc::Status ChatSession::ReadLastIds(uint64_t length, TokenIds& ids) {
  const uint64_t offset = length > kLastIds ? length - kLastIds : 0;
  grpc::Status status;
  do {
    status = ReadSession(connection_.model(), id_, offset, ids);
  } while (!status.ok() && IsTransient(status) && connection_.retries().Again(status));
  if (status.ok()) connection_.retries().Progress();
  return status;
}

Generation ChatSession::Say(const std::string& text) {
  Generation generation;
  TokenIds ids;
  generation.status = Settle();
  if (generation.status.ok()) generation.status = conversation_.NextTurn(text, ids);
  if (!generation.status.ok()) return generation;
  v1::GenerateRequest request;
  request.set_session_id(id_);
  request.set_request_id(RandomId());
  request.set_expected_length(conversation_.length());
  request.mutable_input_ids()->Add(ids.begin(), ids.end());
  generation.status = sampling_.Fill(connection_, request);
  if (!generation.status.ok()) return generation;
  generation = StreamTextOf(connection_, request);
  if (generation.complete.has_value()) {
    conversation_.AddTurn(ids, generation.ids);
    return generation;
  }
  // What Ctrl-C was for is done; the calls that settle the session must not be cancelled.
  const bool interrupted = Interrupts::Get().pending();
  Interrupts::Get().Clear();
  unsettled_ = Unsettled{request.request_id(), std::move(ids), generation.ids};
  const Retries::Off once(connection_.retries());  // it has been waited for, or must not be
  const grpc::Status settled = Settle();
  if (interrupted) {
    generation.status = settled.ok() || IsTransient(settled)
                            ? grpc::Status(grpc::StatusCode::CANCELLED, "interrupted")
                            : settled;
  }
  return generation;
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
  const auto& [request_id, sent, shown] = *unsettled_;
  const uint64_t before = conversation_.length();
  const uint64_t start = before + sent.size();
  const bool ours = session.last_request_id() == request_id && session.length() >= start;
  if (!status.ok()) return status;
  if (session.length() != before && ours) {
    const uint64_t after =
        shown.empty() ? before : std::min<uint64_t>(start + shown.size(), session.length());
    status = Truncate(after, session.length());
    if (!status.ok()) return status;
    const auto kept = static_cast<ptrdiff_t>(after - std::min(start, after));
    if (after > before) conversation_.AddTurn(sent, {shown.begin(), shown.begin() + kept});
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

grpc::Status ChatSession::Back() {
  const grpc::Status settled = Settle();
  if (!settled.ok()) return settled;
  const std::optional<uint64_t> before = conversation_.BeforeLastTurn();
  if (!before.has_value()) {
    return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION,
                        "there is no turn of this chat to take back");
  }
  grpc::Status status = Truncate(*before, length());
  if (status.ok()) conversation_.RemoveLastTurn();
  return status;
}

grpc::Status ChatSession::Reset() {
  const grpc::Status settled = Settle();
  if (!settled.ok()) return settled;
  grpc::Status status = Truncate(0, length());
  if (status.ok()) conversation_.Clear();
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

}  // namespace kvasir::cli
