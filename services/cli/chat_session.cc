#include "services/cli/chat_session.h"

#include <chrono>
#include <cstdio>
#include <random>
#include <thread>
#include <utility>

namespace kvasir::cli {
namespace {

using ModelStub = v1::ModelService::Stub;

// A template's closing is no longer than this.
constexpr uint64_t kLastIds = 64;
constexpr std::chrono::milliseconds kIdlePoll(20);
constexpr int kIdlePolls = 500;

std::string NewRequestId() {
  std::random_device random;
  char id[33];
  std::snprintf(id, sizeof(id), "%08x%08x%08x%08x", random(), random(), random(), random());
  return id;
}

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
  grpc::Status status = Connection::Call(
      connection_.tokenizer(), &v1::TokenizerService::Stub::ApplyChatTemplate, request, response);
  ids.assign(response.ids().begin(), response.ids().end());
  return status;
}

grpc::Status ChatSession::Open(const std::string& session_id) {
  if (!session_id.empty()) {
    v1::GetSessionRequest request;
    request.set_session_id(session_id);
    v1::GetSessionResponse response;
    grpc::Status status =
        Connection::Call(connection_.model(), &ModelStub::GetSession, request, response);
    if (status.ok()) {
      id_ = session_id;
      const uint64_t length = response.session().length();
      TokenIds last_ids;
      status = ReadLastIds(length, last_ids);
      if (status.ok()) conversation_.Resume(length, std::move(last_ids));
      return status;
    }
    if (status.error_code() != grpc::StatusCode::NOT_FOUND) return status;
  }
  v1::CreateSessionRequest request;
  request.set_session_id(session_id);
  v1::CreateSessionResponse response;
  grpc::Status status =
      Connection::Call(connection_.model(), &ModelStub::CreateSession, request, response);
  id_ = response.session().session_id();
  return status;
}

grpc::Status ChatSession::ReadLastIds(uint64_t length, TokenIds& ids) {
  v1::ReadSessionRequest request;
  request.set_session_id(id_);
  request.set_offset(length > kLastIds ? length - kLastIds : 0);
  grpc::ClientContext context;
  const Interrupts::Cancels cancels(context);
  const auto call = connection_.model().ReadSession(&context, request);
  v1::ReadSessionResponse response;
  while (call->Read(&response)) {
    ids.insert(ids.end(), response.ids().begin(), response.ids().end());
  }
  return call->Finish();
}

Generation ChatSession::Say(const std::string& text) {
  Generation generation;
  TokenIds ids;
  generation.status = conversation_.NextTurn(text, ids);
  if (!generation.status.ok()) return generation;
  v1::GenerateRequest request;
  request.set_session_id(id_);
  request.set_request_id(NewRequestId());
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
  const grpc::Status settled = Settle(request.request_id(), ids, generation.ids);
  if (interrupted) {
    generation.status =
        settled.ok() ? grpc::Status(grpc::StatusCode::CANCELLED, "interrupted") : settled;
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
// was shown. Where another client's turn came between, nothing of it is touched.
grpc::Status ChatSession::Settle(const std::string& request_id, const TokenIds& sent,
                                 const TokenIds& shown) {
  v1::Session session;
  grpc::Status status = WaitUntilIdle(session);
  const uint64_t before = conversation_.length();
  if (!status.ok() || session.length() == before) return status;
  if (session.last_request_id() != request_id) return grpc::Status::OK;
  const uint64_t after = shown.empty() ? before : before + sent.size() + shown.size();
  if (session.length() != after) status = Truncate(after, session.length());
  if (status.ok() && !shown.empty()) conversation_.AddTurn(sent, shown);
  return status;
}

grpc::Status ChatSession::Truncate(uint64_t length, std::optional<uint64_t> expected_length) {
  v1::TruncateSessionRequest request;
  request.set_session_id(id_);
  request.set_length(length);
  if (expected_length.has_value()) request.set_expected_length(*expected_length);
  v1::TruncateSessionResponse response;
  return Connection::Call(connection_.model(), &ModelStub::TruncateSession, request, response);
}

grpc::Status ChatSession::Back() {
  const std::optional<uint64_t> before = conversation_.BeforeLastTurn();
  if (!before.has_value()) {
    return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION,
                        "there is no turn of this chat to take back");
  }
  grpc::Status status = Truncate(*before);
  if (status.ok()) conversation_.RemoveLastTurn();
  return status;
}

grpc::Status ChatSession::Reset() {
  grpc::Status status = Truncate(0);
  if (status.ok()) conversation_.Clear();
  return status;
}

grpc::Status ChatSession::Fork(const std::string& new_session_id) {
  v1::ForkSessionRequest request;
  request.set_session_id(id_);
  request.set_new_session_id(new_session_id);
  request.set_length(conversation_.length());
  v1::ForkSessionResponse response;
  grpc::Status status =
      Connection::Call(connection_.model(), &ModelStub::ForkSession, request, response);
  if (status.ok()) id_ = response.session().session_id();
  return status;
}

grpc::Status ChatSession::Describe(v1::Session& session) {
  v1::GetSessionRequest request;
  request.set_session_id(id_);
  v1::GetSessionResponse response;
  grpc::Status status =
      Connection::Call(connection_.model(), &ModelStub::GetSession, request, response);
  session = response.session();
  return status;
}

}  // namespace kvasir::cli
