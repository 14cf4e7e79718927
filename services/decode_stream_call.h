#ifndef KVASIR_SERVICES_DECODE_STREAM_CALL_H_
#define KVASIR_SERVICES_DECODE_STREAM_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <optional>

#include "kvasir/v1/tokenizer.pb.h"
#include "services/metrics.h"
#include "services/running_calls.h"
#include "tokenizer/stream_decoder.h"

namespace kvasir {

// One DecodeStream RPC. Every message is answered by one (its text may be empty), so that a client
// may also take turns; what half-close completes comes in one more.
class DecodeStreamCall final
    : public grpc::ServerBidiReactor<v1::DecodeStreamRequest, v1::DecodeStreamResponse> {
 public:
  // REQUIRES: `tokenizer` and `metrics` outlive the RPC.
  static grpc::ServerBidiReactor<v1::DecodeStreamRequest, v1::DecodeStreamResponse>* Begin(
      const Tokenizer& tokenizer, TokenizerMetrics& metrics, RunningCall running);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone() override;

 private:
  DecodeStreamCall(const Tokenizer& tokenizer, TokenizerMetrics& metrics, RunningCall running)
      : tokenizer_(tokenizer), metrics_(metrics), running_(std::move(running)) {}

  void End(const absl::Status& status);

  const Tokenizer& tokenizer_;
  TokenizerMetrics& metrics_;
  RunningCall running_;
  std::optional<StreamDecoder> decoder_;  // from the first message on
  v1::DecodeStreamRequest request_;
  v1::DecodeStreamResponse response_;
  RequestRecord::Conversion converted_;
  absl::Status status_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_DECODE_STREAM_CALL_H_
