#include "tests/services/cli/failing_relay.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "engine/check.h"

namespace kvasir::testing {

using ModelStub = v1::ModelService::Stub;

FailingRelay::FailingRelay(v1::ModelService::Stub& service) : service_(&service) {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  KVASIR_CHECK(server_ != nullptr);
  address_ = "127.0.0.1:" + std::to_string(port);
  stub_ =
      v1::ModelService::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
}

FailingRelay::~FailingRelay() { server_->Shutdown(); }

void FailingRelay::FailNext(const std::string& method, Failure failure) {
  failures_[method].push_back(std::move(failure));
}

void FailingRelay::FailWhile(std::function<grpc::Status(const std::string&)> status) {
  status_ = std::move(status);
}

size_t FailingRelay::Count(const std::string& method) const {
  return static_cast<size_t>(std::count_if(
      calls_.begin(), calls_.end(), [&](const Call& call) { return call.method == method; }));
}

std::optional<FailingRelay::Failure> FailingRelay::Begin(const std::string& method,
                                                         const grpc::ServerContext& context) {
  const auto header = context.client_metadata().find("kvasir-session");
  calls_.push_back({method, header == context.client_metadata().end()
                                ? ""
                                : std::string(header->second.data(), header->second.size())});
  std::deque<Failure>& failures = failures_[method];
  if (!failures.empty()) {
    Failure failure = std::move(failures.front());
    failures.pop_front();
    return failure;
  }
  const grpc::Status status = status_ ? status_(method) : grpc::Status::OK;
  if (status.ok()) return std::nullopt;
  return Failure{.status = status};
}

void FailingRelay::AwaitIdle(const std::string& session_id) {
  v1::GetSessionRequest request;
  request.set_session_id(session_id);
  while (true) {
    grpc::ClientContext context;
    v1::GetSessionResponse response;
    const grpc::Status status = service_->GetSession(&context, request, &response);
    if (!status.ok() || !response.session().busy()) return;
    std::this_thread::yield();
  }
}

grpc::Status FailingRelay::Generate(grpc::ServerContext* context,
                                    const v1::GenerateRequest* request,
                                    grpc::ServerWriter<v1::GenerateResponse>* writer) {
  const std::optional<Failure> failure = Begin("Generate", *context);
  requests_.push_back(*request);
  const auto fail = [&] {
    if (!request->session_id().empty()) AwaitIdle(request->session_id());
    if (failure->then) failure->then();
    return failure->status;
  };
  if (failure.has_value() && failure->behind == Failure::Behind::kNotCalled) return fail();
  const bool cancel = failure.has_value() && failure->behind == Failure::Behind::kCancelled;
  grpc::ClientContext behind;
  const auto call = service_->Generate(&behind, *request);
  v1::GenerateResponse response;
  size_t left = failure.has_value() ? failure->tokens : std::numeric_limits<size_t>::max();
  while (!(cancel && left == 0) && call->Read(&response)) {
    if (failure.has_value() && response.has_complete()) continue;
    if (failure.has_value() && response.has_started() && !failure->started) continue;
    if (response.has_chunk()) {
      auto& ids = *response.mutable_chunk()->mutable_ids();
      ids.Truncate(static_cast<int>(std::min<size_t>(left, static_cast<size_t>(ids.size()))));
      left -= static_cast<size_t>(ids.size());
      if (failure.has_value() && failure->wrong_tokens) {
        for (uint32_t& id : ids) id ^= 1;
      }
      if (ids.empty()) continue;
    }
    writer->Write(response);
    if (context->IsCancelled()) behind.TryCancel();
  }
  if (cancel) behind.TryCancel();
  while (call->Read(&response)) continue;
  const grpc::Status status = call->Finish();
  return failure.has_value() ? fail() : status;
}

grpc::Status FailingRelay::ReadSession(grpc::ServerContext* context,
                                       const v1::ReadSessionRequest* request,
                                       grpc::ServerWriter<v1::ReadSessionResponse>* writer) {
  const std::optional<Failure> failure = Begin("ReadSession", *context);
  if (failure.has_value() && failure->behind == Failure::Behind::kNotCalled) return failure->status;
  grpc::ClientContext behind;
  const auto call = service_->ReadSession(&behind, *request);
  v1::ReadSessionResponse response;
  while (call->Read(&response)) writer->Write(response);
  const grpc::Status status = call->Finish();
  return failure.has_value() ? failure->status : status;
}

template <typename Request, typename Response>
grpc::Status FailingRelay::Forward(const std::string& method,
                                   grpc::Status (ModelStub::*call)(grpc::ClientContext*,
                                                                   const Request&, Response*),
                                   const grpc::ServerContext& context, const Request& request,
                                   Response& response) {
  const std::optional<Failure> failure = Begin(method, context);
  grpc::Status status = failure.has_value() ? failure->status : grpc::Status::OK;
  if (!failure.has_value() || failure->behind == Failure::Behind::kCompleted) {
    grpc::ClientContext behind;
    const grpc::Status done = (service_->*call)(&behind, request, &response);
    if (!failure.has_value()) status = done;
  }
  if (failure.has_value() && failure->then) failure->then();
  return status;
}

grpc::Status FailingRelay::GetSession(grpc::ServerContext* context,
                                      const v1::GetSessionRequest* request,
                                      v1::GetSessionResponse* response) {
  const grpc::Status status =
      Forward("GetSession", &ModelStub::GetSession, *context, *request, *response);
  if (status.ok() && change_) change_(*response->mutable_session());
  return status;
}

grpc::Status FailingRelay::CreateSession(grpc::ServerContext* context,
                                         const v1::CreateSessionRequest* request,
                                         v1::CreateSessionResponse* response) {
  return Forward("CreateSession", &ModelStub::CreateSession, *context, *request, *response);
}

grpc::Status FailingRelay::ForkSession(grpc::ServerContext* context,
                                       const v1::ForkSessionRequest* request,
                                       v1::ForkSessionResponse* response) {
  return Forward("ForkSession", &ModelStub::ForkSession, *context, *request, *response);
}

grpc::Status FailingRelay::TruncateSession(grpc::ServerContext* context,
                                           const v1::TruncateSessionRequest* request,
                                           v1::TruncateSessionResponse* response) {
  return Forward("TruncateSession", &ModelStub::TruncateSession, *context, *request, *response);
}

grpc::Status FailingRelay::DeleteSession(grpc::ServerContext* context,
                                         const v1::DeleteSessionRequest* request,
                                         v1::DeleteSessionResponse* response) {
  return Forward("DeleteSession", &ModelStub::DeleteSession, *context, *request, *response);
}

grpc::Status FailingRelay::GetModelInfo(grpc::ServerContext* context,
                                        const v1::GetModelInfoRequest* request,
                                        v1::GetModelInfoResponse* response) {
  return Forward("GetModelInfo", &ModelStub::GetModelInfo, *context, *request, *response);
}

}  // namespace kvasir::testing
