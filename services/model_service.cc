#include "services/model_service.h"

#include <utility>

#include "engine/error.h"
#include "services/generate_call.h"
#include "services/model_messages.h"
#include "services/read_session_call.h"
#include "services/rpc_reactors.h"

namespace kvasir {
namespace {

// Finishes `call` with the session that the engine answers.
Engine::Callback<SessionInfo> AnswerWith(UnaryCall* call, v1::Session* response) {
  return [call, response](absl::StatusOr<SessionInfo> session) {
    if (session.ok()) *response = ToProto(*session);
    call->Finish(session.status());
  };
}

std::string PromptOf(const google::protobuf::RepeatedField<uint32_t>& ids) {
  return PromptOfIds({ids.data(), static_cast<size_t>(ids.size())});
}

}  // namespace

grpc::ServerWriteReactor<v1::GenerateResponse>* ModelService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  absl::StatusOr<RunningCall> running = calls_.Begin("Generate", *context, request->session_id());
  if (!running.ok()) {
    return new RefusedCall<grpc::ServerWriteReactor<v1::GenerateResponse>>(running.status());
  }
  RequestRecord& record = running->record();
  record.request_id = request->request_id();
  if (calls_.logs_prompts()) record.prompt = PromptOf(request->input_ids());
  GenerateRequest asked = FromProto(*request);
  asked.tenant = running->context().tenant;
  return GenerateCall::Begin(engine_, *context, std::move(asked), *std::move(running), metrics_);
}

grpc::ServerUnaryReactor* ModelService::CreateSession(grpc::CallbackServerContext* context,
                                                      const v1::CreateSessionRequest* request,
                                                      v1::CreateSessionResponse* response) {
  auto running = calls_.Begin("CreateSession", *context, request->session_id());
  return UnaryCall::Begin(std::move(running), [&](UnaryCall* call) {
    if (calls_.logs_prompts()) call->record().prompt = PromptOf(request->initial_ids());
    absl::StatusOr<CreateSessionRequest> converted = FromProto(*request);
    if (!converted.ok()) {
      call->Finish(converted.status());
      return;
    }
    converted->tenant = call->context().tenant;
    engine_.CreateSession(*std::move(converted), AnswerWith(call, response->mutable_session()));
  });
}

grpc::ServerUnaryReactor* ModelService::GetSession(grpc::CallbackServerContext* context,
                                                   const v1::GetSessionRequest* request,
                                                   v1::GetSessionResponse* response) {
  auto running = calls_.Begin("GetSession", *context, request->session_id());
  return UnaryCall::Begin(std::move(running), [&](UnaryCall* call) {
    engine_.GetSession(call->context().tenant, request->session_id(),
                       AnswerWith(call, response->mutable_session()));
  });
}

grpc::ServerUnaryReactor* ModelService::ListSessions(grpc::CallbackServerContext* context,
                                                     const v1::ListSessionsRequest* request,
                                                     v1::ListSessionsResponse* response) {
  return UnaryCall::Begin(calls_.Begin("ListSessions", *context), [&](UnaryCall* call) {
    ListSessionsRequest asked = FromProto(*request);
    asked.tenant = call->context().tenant;
    engine_.ListSessions(std::move(asked), [call, response](absl::StatusOr<SessionPage> page) {
      if (page.ok()) {
        for (const SessionInfo& session : page->sessions) {
          *response->add_sessions() = ToProto(session);
        }
        response->set_next_page_token(page->next_page_token);
      }
      call->Finish(page.status());
    });
  });
}

grpc::ServerUnaryReactor* ModelService::ForkSession(grpc::CallbackServerContext* context,
                                                    const v1::ForkSessionRequest* request,
                                                    v1::ForkSessionResponse* response) {
  auto running = calls_.Begin("ForkSession", *context, request->session_id());
  return UnaryCall::Begin(std::move(running), [&](UnaryCall* call) {
    std::optional<uint64_t> length;
    if (request->has_length()) length = request->length();
    engine_.ForkSession(call->context().tenant, request->session_id(), request->new_session_id(),
                        length, AnswerWith(call, response->mutable_session()));
  });
}

grpc::ServerUnaryReactor* ModelService::TruncateSession(grpc::CallbackServerContext* context,
                                                        const v1::TruncateSessionRequest* request,
                                                        v1::TruncateSessionResponse* response) {
  auto running = calls_.Begin("TruncateSession", *context, request->session_id());
  return UnaryCall::Begin(std::move(running), [&](UnaryCall* call) {
    if (!request->has_length()) {
      call->Finish(
          MakeError(Reason::kInvalidField, "length: not set, but required", {{"field", "length"}}));
      return;
    }
    std::optional<uint64_t> expected_length;
    if (request->has_expected_length()) expected_length = request->expected_length();
    engine_.TruncateSession(call->context().tenant, request->session_id(), request->length(),
                            expected_length, AnswerWith(call, response->mutable_session()));
  });
}

grpc::ServerUnaryReactor* ModelService::DeleteSession(grpc::CallbackServerContext* context,
                                                      const v1::DeleteSessionRequest* request,
                                                      v1::DeleteSessionResponse*) {
  auto running = calls_.Begin("DeleteSession", *context, request->session_id());
  return UnaryCall::Begin(std::move(running), [&](UnaryCall* call) {
    engine_.DeleteSession(call->context().tenant, request->session_id(),
                          [call](const absl::Status& status) { call->Finish(status); });
  });
}

grpc::ServerWriteReactor<v1::ReadSessionResponse>* ModelService::ReadSession(
    grpc::CallbackServerContext* context, const v1::ReadSessionRequest* request) {
  auto running = calls_.Begin("ReadSession", *context, request->session_id());
  if (!running.ok()) {
    return new RefusedCall<grpc::ServerWriteReactor<v1::ReadSessionResponse>>(running.status());
  }
  return ReadSessionCall::Begin(engine_, *request, *std::move(running));
}

grpc::ServerUnaryReactor* ModelService::GetModelInfo(grpc::CallbackServerContext* context,
                                                     const v1::GetModelInfoRequest*,
                                                     v1::GetModelInfoResponse* response) {
  return UnaryCall::Begin(calls_.Begin("GetModelInfo", *context), [&](UnaryCall* call) {
    *response = ToProto(engine_.model_info());
    call->Finish(absl::OkStatus());
  });
}

}  // namespace kvasir
