#include "services/tokenizer_service.h"

#include <string>
#include <utility>
#include <vector>

#include "services/decode_stream_call.h"
#include "services/tokenizer_errors.h"
#include "tokenizer/fingerprint.h"

namespace kvasir {
namespace {

// Answers with the status that work() returns on one of the pool's threads.
template <typename Work>
grpc::ServerUnaryReactor* AnswerFrom(WorkerPool& workers, absl::StatusOr<RunningCall> running,
                                     Work work) {
  return UnaryCall::Begin(std::move(running), [&](UnaryCall* call) {
    workers.Run([call, work = std::move(work)] { call->Finish(work()); });
  });
}

}  // namespace

grpc::ServerUnaryReactor* TokenizerService::Encode(grpc::CallbackServerContext*,
                                                   const v1::EncodeRequest* request,
                                                   v1::EncodeResponse* response) {
  return AnswerFrom(workers_, calls_.Begin("Encode"), [this, request, response] {
    const std::string& text =
        request->source_case() == v1::EncodeRequest::kData ? request->data() : request->text();
    const std::vector<uint32_t> ids = tokenizer_.Encode(text, {.plain = request->plain()});
    response->mutable_ids()->Add(ids.begin(), ids.end());
    metrics_.RecordEncode(text.size(), ids.size());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* TokenizerService::Decode(grpc::CallbackServerContext*,
                                                   const v1::DecodeRequest* request,
                                                   v1::DecodeResponse* response) {
  return AnswerFrom(workers_, calls_.Begin("Decode"), [this, request, response] {
    absl::StatusOr<std::string> text =
        tokenizer_.Decode({request->ids().data(), static_cast<size_t>(request->ids_size())},
                          request->skip_special_tokens());
    if (!text.ok()) return InvalidField("ids", text.status());
    metrics_.RecordDecode(request->ids_size(), text->size());
    response->set_text(*std::move(text));
    return absl::OkStatus();
  });
}

grpc::ServerBidiReactor<v1::DecodeStreamRequest, v1::DecodeStreamResponse>*
TokenizerService::DecodeStream(grpc::CallbackServerContext*) {
  absl::StatusOr<RunningCall> running = calls_.Begin("DecodeStream");
  if (!running.ok()) {
    return new RefusedCall<
        grpc::ServerBidiReactor<v1::DecodeStreamRequest, v1::DecodeStreamResponse>>(
        running.status());
  }
  return DecodeStreamCall::Begin(tokenizer_, metrics_, *std::move(running));
}

grpc::ServerUnaryReactor* TokenizerService::ApplyChatTemplate(
    grpc::CallbackServerContext*, const v1::ApplyChatTemplateRequest* request,
    v1::ApplyChatTemplateResponse* response) {
  return AnswerFrom(workers_, calls_.Begin("ApplyChatTemplate"), [this, request, response] {
    const absl::Status status = renderer_.Render(*request, *response);
    if (status.ok()) metrics_.RecordEncode(response->text().size(), response->ids_size());
    return status;
  });
}

grpc::ServerUnaryReactor* TokenizerService::GetTokenizerInfo(
    grpc::CallbackServerContext*, const v1::GetTokenizerInfoRequest*,
    v1::GetTokenizerInfoResponse* response) {
  return UnaryCall::Begin(calls_.Begin("GetTokenizerInfo"), [&](UnaryCall* call) {
    response->set_model_name(tokenizer_.model_name());
    response->set_fingerprint(tokenizer_.fingerprint());
    response->set_vocab_size(tokenizer_.vocab_size());
    for (const AddedToken& token : tokenizer_.added_tokens()) {
      v1::AddedToken& added = *response->add_added_tokens();
      added.set_id(token.id);
      added.set_content(token.content);
      added.set_special(token.special);
    }
    response->set_chat_template(tokenizer_.chat_template());
    response->set_version(KVASIR_VERSION);
    if (!tokenizer_.chat_template().empty()) {
      response->set_chat_template_fingerprint(FingerprintOf(tokenizer_.chat_template()));
    }
    for (const auto& [name, token] : NamedTokens(tokenizer_.special_tokens())) {
      if (!token.empty()) (*response->mutable_special_tokens())[name] = token;
    }
    call->Finish(absl::OkStatus());
  });
}

}  // namespace kvasir
