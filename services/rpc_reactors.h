#ifndef KVASIR_SERVICES_RPC_REACTORS_H_
#define KVASIR_SERVICES_RPC_REACTORS_H_

#include <grpcpp/support/server_callback.h>

#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "services/grpc_status.h"
#include "services/running_calls.h"

namespace kvasir {

// One unary RPC. Lives until its status has been sent.
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  // Calls start(UnaryCall*), which sees to it that Finish is called once, now or later, on any
  // thread; a refused call is finished at once.
  template <typename Start>
  static grpc::ServerUnaryReactor* Begin(absl::StatusOr<RunningCall> running, Start start) {
    auto* call = new UnaryCall;
    if (running.ok()) {
      call->running_.emplace(*std::move(running));
      start(call);
    } else {
      call->Finish(running.status());
    }
    return call;
  }

  // REQUIRES: within start, or before Finish.
  const RequestContext& context() const { return running_->context(); }
  RequestRecord& record() { return running_->record(); }

  // The response must be complete where the status is OK.
  void Finish(const absl::Status& status) {
    status_ = status;
    ServerUnaryReactor::Finish(ToGrpcStatus(status));
  }

 private:
  UnaryCall() = default;
  ~UnaryCall() override = default;
  void OnDone() override {
    if (running_) running_->End(std::move(status_));
    delete this;
  }

  std::optional<RunningCall> running_;
  absl::Status status_;
};

// Answers a unary RPC with the status that work(record) returns, within its handler. gRPC's own
// reactor needs no other thread to be done with the call, unlike UnaryCall.
template <typename Work>
grpc::ServerUnaryReactor* AnswerNow(grpc::CallbackServerContext& context,
                                    absl::StatusOr<RunningCall> running, Work work) {
  absl::Status status = running.ok() ? work(running->record()) : running.status();
  grpc::ServerUnaryReactor* const reactor = context.DefaultReactor();
  const grpc::Status answer = ToGrpcStatus(status);
  if (running.ok()) running->End(std::move(status));
  reactor->Finish(answer);
  return reactor;
}

// A streaming RPC that is over before it has begun. Base: the reactor's type.
template <typename Base>
class RefusedCall final : public Base {
 public:
  explicit RefusedCall(const absl::Status& status) { this->Finish(ToGrpcStatus(status)); }

 private:
  ~RefusedCall() override = default;
  void OnDone() override { delete this; }
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_RPC_REACTORS_H_
