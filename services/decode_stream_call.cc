#include "services/decode_stream_call.h"

#include <utility>

#include "services/grpc_status.h"
#include "services/tokenizer_errors.h"

namespace kvasir {

grpc::ServerBidiReactor<v1::DecodeStreamRequest, v1::DecodeStreamResponse>* DecodeStreamCall::Begin(
    const Tokenizer& tokenizer, TokenizerMetrics& metrics, RunningCall running) {
  auto* call = new DecodeStreamCall(tokenizer, metrics, std::move(running));
  call->StartRead(&call->request_);
  return call;
}

void DecodeStreamCall::OnReadDone(bool ok) {
  if (!ok) {  // half-close, or the client is gone
    response_.set_text(decoder_ ? decoder_->Finish() : "");
    converted_.bytes += response_.text().size();
    if (response_.text().empty()) {
      End(absl::OkStatus());
    } else {
      metrics_.RecordDecode(0, response_.text().size());
      StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
    }
    return;
  }
  if (!decoder_) decoder_.emplace(tokenizer_, request_.skip_special_tokens());
  absl::StatusOr<std::string> text =
      decoder_->Push({request_.ids().data(), static_cast<size_t>(request_.ids_size())});
  if (!text.ok()) {
    End(InvalidField("ids", text.status()));
    return;
  }
  metrics_.RecordDecode(request_.ids_size(), text->size());
  converted_.tokens += static_cast<uint64_t>(request_.ids_size());
  converted_.bytes += text->size();
  response_.set_text(*std::move(text));
  StartWrite(&response_);
}

void DecodeStreamCall::OnWriteDone(bool ok) {
  if (ok) {
    StartRead(&request_);
  } else {
    End(absl::CancelledError("the client is gone"));
  }
}

void DecodeStreamCall::End(const absl::Status& status) {
  status_ = status;
  Finish(ToGrpcStatus(status));
}

void DecodeStreamCall::OnDone() {
  running_.record().conversion = converted_;
  running_.End(std::move(status_));
  delete this;
}

}  // namespace kvasir
