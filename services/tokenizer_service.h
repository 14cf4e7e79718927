#ifndef KVASIR_SERVICES_TOKENIZER_SERVICE_H_
#define KVASIR_SERVICES_TOKENIZER_SERVICE_H_

#include "kvasir/v1/tokenizer.grpc.pb.h"
#include "services/chat_renderer.h"
#include "services/metrics.h"
#include "services/rpc_reactors.h"
#include "services/running_calls.h"
#include "services/worker_pool.h"
#include "tokenizer/tokenizer.h"

namespace kvasir {

// kvasir.v1.TokenizerService over a Tokenizer. Messages are limited to kMaxMessageBytes both ways.
class TokenizerService final : public v1::TokenizerService::CallbackService {
 public:
  static constexpr int kMaxMessageBytes = 64 << 20;

  // `threads`: as WorkerPool.
  // REQUIRES: all outlive the server that this is registered with.
  TokenizerService(const Tokenizer& tokenizer, const ChatRenderer& renderer, int threads,
                   RequestObservers observers, TokenizerMetrics& metrics, RequestGuards guards = {})
      : tokenizer_(tokenizer),
        renderer_(renderer),
        metrics_(metrics),
        calls_(std::move(observers), guards),
        workers_(threads) {}

  RunningCalls& calls() { return calls_; }

  grpc::ServerUnaryReactor* Encode(grpc::CallbackServerContext* context,
                                   const v1::EncodeRequest* request,
                                   v1::EncodeResponse* response) override;
  grpc::ServerUnaryReactor* Decode(grpc::CallbackServerContext* context,
                                   const v1::DecodeRequest* request,
                                   v1::DecodeResponse* response) override;
  grpc::ServerBidiReactor<v1::DecodeStreamRequest, v1::DecodeStreamResponse>* DecodeStream(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* ApplyChatTemplate(grpc::CallbackServerContext* context,
                                              const v1::ApplyChatTemplateRequest* request,
                                              v1::ApplyChatTemplateResponse* response) override;
  grpc::ServerUnaryReactor* GetTokenizerInfo(grpc::CallbackServerContext* context,
                                             const v1::GetTokenizerInfoRequest* request,
                                             v1::GetTokenizerInfoResponse* response) override;

 private:
  const Tokenizer& tokenizer_;
  const ChatRenderer& renderer_;
  TokenizerMetrics& metrics_;
  RunningCalls calls_;
  WorkerPool workers_;  // last: its tasks use all else
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_TOKENIZER_SERVICE_H_
