#include "services/demo/demo_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>

namespace kvasir::demo {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsBetween(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

void ExitUnlessOk(const grpc::Status& status, const char* rpc) {
  if (status.ok()) return;
  std::fflush(stdout);
  std::fprintf(stderr, "\n%s failed with code %d: %s\n", rpc, status.error_code(),
               status.error_message().c_str());
  std::_Exit(1);  // other threads may still be reading
}

// One DecodeStream call. A thread of its own reads: the service answers when it has whole
// characters, not once for each message.
class TextStream {
 public:
  TextStream(v1::TokenizerService::Stub& stub, const TextSink& sink)
      : call_(stub.DecodeStream(&context_)), reader_([this, &sink] {
          v1::DecodeStreamResponse response;
          while (call_->Read(&response)) {
            sink(response.text());
            text_ += response.text();
          }
        }) {}

  // A broken stream shows in Finish.
  void Write(const google::protobuf::RepeatedField<uint32_t>& ids) {
    v1::DecodeStreamRequest request;
    *request.mutable_ids() = ids;
    request.set_skip_special_tokens(true);
    call_->Write(request);
  }

  std::string Finish() {
    call_->WritesDone();
    reader_.join();
    ExitUnlessOk(call_->Finish(), "DecodeStream");
    return std::move(text_);
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::DecodeStreamRequest, v1::DecodeStreamResponse>>
      call_;
  std::string text_;
  std::thread reader_;
};

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

DemoClient::DemoClient(const std::string& tokenizer_address, const std::string& model_address)
    : tokenizer_(v1::TokenizerService::NewStub(OpenChannel(tokenizer_address))),
      model_(v1::ModelService::NewStub(OpenChannel(model_address))) {}

void DemoClient::AwaitModel() {
  const auto deadline = std::chrono::system_clock::now() + std::chrono::seconds(30);
  grpc::Status status;
  do {  // a connection may break once more on its way
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(deadline);
    v1::GetModelInfoResponse response;
    status = model_->GetModelInfo(&context, {}, &response);
  } while (status.error_code() == grpc::StatusCode::UNAVAILABLE);
  ExitUnlessOk(status, "GetModelInfo");
}

v1::GetTokenizerInfoResponse DemoClient::TokenizerInfo() {
  grpc::ClientContext context;
  v1::GetTokenizerInfoResponse response;
  ExitUnlessOk(tokenizer_->GetTokenizerInfo(&context, {}, &response), "GetTokenizerInfo");
  return response;
}

v1::GetModelInfoResponse DemoClient::ModelInfo() {
  grpc::ClientContext context;
  v1::GetModelInfoResponse response;
  ExitUnlessOk(model_->GetModelInfo(&context, {}, &response), "GetModelInfo");
  return response;
}

TokenIds DemoClient::Encode(std::string_view text) {
  grpc::ClientContext context;
  v1::EncodeRequest request;
  request.set_text(std::string(text));
  v1::EncodeResponse response;
  ExitUnlessOk(tokenizer_->Encode(&context, request, &response), "Encode");
  return {response.ids().begin(), response.ids().end()};
}

v1::ApplyChatTemplateResponse DemoClient::Render(const std::vector<v1::ChatMessage>& messages,
                                                 bool add_generation_prompt) {
  grpc::ClientContext context;
  v1::ApplyChatTemplateRequest request;
  for (const v1::ChatMessage& message : messages) *request.add_messages() = message;
  request.set_add_generation_prompt(add_generation_prompt);
  v1::ApplyChatTemplateResponse response;
  ExitUnlessOk(tokenizer_->ApplyChatTemplate(&context, request, &response), "ApplyChatTemplate");
  return response;
}

v1::Session DemoClient::CreateSession(const TokenIds& initial_ids) {
  grpc::ClientContext context;
  v1::CreateSessionRequest request;
  request.mutable_initial_ids()->Add(initial_ids.begin(), initial_ids.end());
  v1::CreateSessionResponse response;
  ExitUnlessOk(model_->CreateSession(&context, request, &response), "CreateSession");
  return response.session();
}

v1::Session DemoClient::ForkSession(const std::string& session_id) {
  grpc::ClientContext context;
  v1::ForkSessionRequest request;
  request.set_session_id(session_id);
  v1::ForkSessionResponse response;
  ExitUnlessOk(model_->ForkSession(&context, request, &response), "ForkSession");
  return response.session();
}

void DemoClient::DeleteSession(const std::string& session_id) {
  grpc::ClientContext context;
  v1::DeleteSessionRequest request;
  request.set_session_id(session_id);
  v1::DeleteSessionResponse response;
  ExitUnlessOk(model_->DeleteSession(&context, request, &response), "DeleteSession");
}

Generation DemoClient::Generate(const v1::GenerateRequest& request, const TextSink& sink) {
  Generation generation;
  TextStream text(*tokenizer_, sink);
  grpc::ClientContext context;
  const auto start = Clock::now();
  auto first = start, last = start;
  const auto call = model_->Generate(&context, request);
  v1::GenerateResponse response;
  while (call->Read(&response)) {
    if (response.has_started()) generation.started = response.started();
    if (response.has_complete()) generation.complete = response.complete();
    if (response.chunk().ids().empty()) continue;
    last = Clock::now();
    if (generation.ids.empty()) first = last;
    const auto& ids = response.chunk().ids();
    generation.ids.insert(generation.ids.end(), ids.begin(), ids.end());
    text.Write(ids);
  }
  ExitUnlessOk(call->Finish(), "Generate");
  generation.text = text.Finish();
  generation.first_token_seconds = SecondsBetween(start, first);
  generation.seconds = SecondsBetween(start, last);
  return generation;
}

}  // namespace kvasir::demo
