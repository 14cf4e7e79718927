#include "services/tokenizer_service.h"

#include <string>
#include <utility>
#include <vector>

#include "services/decode_stream_call.h"
#include "services/tokenizer_errors.h"
#include "tokenizer/fingerprint.h"

namespace kvasir {
namespace {

// A text of so many bytes, or as many ids, is done sooner than another thread wakes up.
constexpr int kShort = 1024;

// Answers with the status that work(record) returns on one of the pool's threads.
template <typename Work>
grpc::ServerUnaryReactor* AnswerFrom(WorkerPool& workers, absl::StatusOr<RunningCall> running,
                                     Work work) {
  return UnaryCall::Begin(std::move(running), [&](UnaryCall* call) {
    workers.Run([call, work = std::move(work)] { call->Finish(work(call->record())); });
  });
}

}  // namespace

grpc::ServerUnaryReactor* TokenizerService::Encode(grpc::CallbackServerContext* context,
                                                   const v1::EncodeRequest* request,
                                                   v1::EncodeResponse* response) {
  auto running = calls_.Begin("Encode", *context);
  const std::string& text =
      request->source_case() == v1::EncodeRequest::kData ? request->data() : request->text();
  const auto encode = [=, &text, this](RequestRecord& record) {
    const std::vector<uint32_t> ids = tokenizer_.Encode(text, {.plain = request->plain()});
    response->mutable_ids()->Add(ids.begin(), ids.end());
    metrics_.RecordEncode(text.size(), ids.size());
    record.conversion = {.bytes = text.size(), .tokens = ids.size()};
    if (calls_.logs_prompts()) record.prompt = PromptOfText(text);
    return absl::OkStatus();
  };
  if (text.size() <= kShort) return AnswerNow(*context, std::move(running), encode);
  return AnswerFrom(workers_, std::move(running), encode);
}

grpc::ServerUnaryReactor* TokenizerService::Decode(grpc::CallbackServerContext* context,
                                                   const v1::DecodeRequest* request,
                                                   v1::DecodeResponse* response) {
  auto running = calls_.Begin("Decode", *context);
  const auto decode = [=, this](RequestRecord& record) {
    const std::span<const uint32_t> ids(request->ids().data(), request->ids().size());
    if (calls_.logs_prompts()) record.prompt = PromptOfIds(ids);
    absl::StatusOr<std::string> text = tokenizer_.Decode(ids, request->skip_special_tokens());
    if (!text.ok()) return InvalidField("ids", text.status());
    metrics_.RecordDecode(ids.size(), text->size());
    record.conversion = {.bytes = text->size(), .tokens = ids.size()};
    response->set_text(*std::move(text));
    return absl::OkStatus();
  };
  if (request->ids_size() <= kShort) return AnswerNow(*context, std::move(running), decode);
  return AnswerFrom(workers_, std::move(running), decode);
}

grpc::ServerBidiReactor<v1::DecodeStreamRequest, v1::DecodeStreamResponse>*
TokenizerService::DecodeStream(grpc::CallbackServerContext* context) {
  absl::StatusOr<RunningCall> running = calls_.Begin("DecodeStream", *context);
  if (!running.ok()) {
    return new RefusedCall<
        grpc::ServerBidiReactor<v1::DecodeStreamRequest, v1::DecodeStreamResponse>>(
        running.status());
  }
  return DecodeStreamCall::Begin(tokenizer_, metrics_, *std::move(running));
}

grpc::ServerUnaryReactor* TokenizerService::ApplyChatTemplate(
    grpc::CallbackServerContext* context, const v1::ApplyChatTemplateRequest* request,
    v1::ApplyChatTemplateResponse* response) {
  auto running = calls_.Begin("ApplyChatTemplate", *context);
  return AnswerFrom(workers_, std::move(running), [=, this](RequestRecord& record) {
    const absl::Status status = renderer_.Render(*request, *response);
    if (!status.ok()) return status;
    const std::string& text = response->text();
    metrics_.RecordEncode(text.size(), response->ids_size());
    record.conversion = {.bytes = text.size(),
                         .tokens = static_cast<uint64_t>(response->ids_size())};
    if (calls_.logs_prompts()) record.prompt = PromptOfText(text);
    return status;
  });
}

grpc::ServerUnaryReactor* TokenizerService::GetTokenizerInfo(
    grpc::CallbackServerContext* context, const v1::GetTokenizerInfoRequest* request,
    v1::GetTokenizerInfoResponse* response) {
  return UnaryCall::Begin(calls_.Begin("GetTokenizerInfo", *context), [&](UnaryCall* call) {
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
    for (uint32_t id = 0; request->with_token_bytes() && id < tokenizer_.vocab_size(); ++id) {
      response->add_token_bytes(tokenizer_.HasToken(id) ? std::string(tokenizer_.TokenBytes(id))
                                                        : std::string());
    }
    call->Finish(absl::OkStatus());
  });
}

}  // namespace kvasir
