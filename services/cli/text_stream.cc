#include "services/cli/text_stream.h"

#include <utility>

#include "services/cli/session_calls.h"

namespace kvasir::cli {
namespace {

grpc::ClientContext* Traced(grpc::ClientContext& context) {
  AddTraceHeader(context);
  return &context;
}

}  // namespace

TextStream::TextStream(v1::TokenizerService::Stub& stub, Sink sink)
    : call_(stub.DecodeStream(Traced(context_))), sink_(std::move(sink)), reader_([this] {
        v1::DecodeStreamResponse response;
        while (call_->Read(&response)) {
          if (!response.text().empty()) sink_(response.text());
        }
      }) {}

void TextStream::Write(const google::protobuf::RepeatedField<uint32_t>& ids) {
  v1::DecodeStreamRequest request;
  *request.mutable_ids() = ids;
  request.set_skip_special_tokens(true);
  call_->Write(request);
}

grpc::Status TextStream::Finish() {
  call_->WritesDone();
  reader_.join();
  return call_->Finish();
}

}  // namespace kvasir::cli
