#ifndef KVASIR_SERVICES_GENERATE_CALL_H_
#define KVASIR_SERVICES_GENERATE_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>

#include "engine/engine.h"
#include "kvasir/v1/model.pb.h"
#include "services/generate_metrics.h"
#include "services/running_calls.h"
#include "services/token_stream.h"

namespace kvasir {

// One Generate RPC: the engine's thread puts results in, gRPC's threads send them. The status goes
// out only after the engine's last word, so that a client that has it finds the session settled. A
// client that cancels, runs out of time or is gone cancels the engine's call.
class GenerateCall final : public grpc::ServerWriteReactor<v1::GenerateResponse>,
                           public GenerateSink {
 public:
  // REQUIRES: `engine` and `metrics` outlive the RPC.
  static grpc::ServerWriteReactor<v1::GenerateResponse>* Begin(
      Engine& engine, const grpc::CallbackServerContext& context, GenerateRequest request,
      RunningCall running, GenerateMetrics& metrics);

  // GenerateSink, on the engine's thread.
  bool HasRoom() const override;
  void OnStarted(const GenerateStarted& started) override;
  void OnTokens(std::span<const int> ids, std::span<const TokenLogprob> logprobs,
                std::span<const TokenLogprob> prompt_logprobs) override;
  void OnReport(const GenerateReport& report) override;
  void OnComplete(const GenerateComplete& complete) override;
  void OnError(const absl::Status& status) override;

  // ServerWriteReactor, on gRPC's threads.
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  GenerateCall(Engine& engine, const grpc::CallbackServerContext& context, RunningCall running,
               GenerateMetrics& metrics);

  // Sends what is next, unless something is being sent.
  void Advance();
  absl::Status FinalError() const;

  Engine& engine_;
  const grpc::CallbackServerContext& context_;
  RunningCall running_;
  GenerateMetrics& metrics_;
  // The engine's thread's: when the last tokens came.
  std::optional<std::chrono::steady_clock::time_point> last_tokens_;
  std::atomic<Engine::CallId> id_{0};   // 0, which is no call, until the engine has named it
  std::shared_ptr<GenerateCall> self_;  // until OnDone

  mutable std::mutex mutex_;
  // guarded by mutex_
  TokenStream stream_;
  bool writing_ = false;
  bool unreachable_ = false;  // a write has failed: the rest is dropped

  v1::GenerateResponse message_;  // being written, else whoever set writing_ owns it
  absl::Status status_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_GENERATE_CALL_H_
