#ifndef KVASIR_SERVICES_MODEL_SERVICE_H_
#define KVASIR_SERVICES_MODEL_SERVICE_H_

#include "engine/engine.h"
#include "kvasir/v1/model.grpc.pb.h"
#include "services/generate_metrics.h"
#include "services/running_calls.h"

namespace kvasir {

// kvasir.v1.ModelService over an Engine. Messages are limited to kMaxMessageBytes both ways.
class ModelService final : public v1::ModelService::CallbackService {
 public:
  static constexpr int kMaxMessageBytes = 16 << 20;

  // REQUIRES: all outlive the server that this is registered with.
  ModelService(Engine& engine, RequestObservers observers, GenerateMetrics& metrics,
               RequestGuards guards = {})
      : engine_(engine), metrics_(metrics), calls_(std::move(observers), guards) {}

  RunningCalls& calls() { return calls_; }

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* CreateSession(grpc::CallbackServerContext* context,
                                          const v1::CreateSessionRequest* request,
                                          v1::CreateSessionResponse* response) override;
  grpc::ServerUnaryReactor* GetSession(grpc::CallbackServerContext* context,
                                       const v1::GetSessionRequest* request,
                                       v1::GetSessionResponse* response) override;
  grpc::ServerUnaryReactor* ListSessions(grpc::CallbackServerContext* context,
                                         const v1::ListSessionsRequest* request,
                                         v1::ListSessionsResponse* response) override;
  grpc::ServerUnaryReactor* ForkSession(grpc::CallbackServerContext* context,
                                        const v1::ForkSessionRequest* request,
                                        v1::ForkSessionResponse* response) override;
  grpc::ServerUnaryReactor* TruncateSession(grpc::CallbackServerContext* context,
                                            const v1::TruncateSessionRequest* request,
                                            v1::TruncateSessionResponse* response) override;
  grpc::ServerUnaryReactor* DeleteSession(grpc::CallbackServerContext* context,
                                          const v1::DeleteSessionRequest* request,
                                          v1::DeleteSessionResponse* response) override;
  grpc::ServerWriteReactor<v1::ReadSessionResponse>* ReadSession(
      grpc::CallbackServerContext* context, const v1::ReadSessionRequest* request) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest* request,
                                         v1::GetModelInfoResponse* response) override;

 private:
  Engine& engine_;
  GenerateMetrics& metrics_;
  RunningCalls calls_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_MODEL_SERVICE_H_
