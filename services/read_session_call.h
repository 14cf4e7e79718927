#ifndef KVASIR_SERVICES_READ_SESSION_CALL_H_
#define KVASIR_SERVICES_READ_SESSION_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <string>
#include <vector>

#include "engine/engine.h"
#include "kvasir/v1/model.pb.h"
#include "services/running_calls.h"

namespace kvasir {

// One ReadSession RPC: the ids as they were when the engine was asked, in chunks.
class ReadSessionCall final : public grpc::ServerWriteReactor<v1::ReadSessionResponse> {
 public:
  static constexpr size_t kChunkIds = 8192;

  // REQUIRES: `engine` outlives the RPC.
  static grpc::ServerWriteReactor<v1::ReadSessionResponse>* Begin(
      Engine& engine, const v1::ReadSessionRequest& request, RunningCall running);

  void OnWriteDone(bool ok) override;
  void OnDone() override;

 private:
  explicit ReadSessionCall(RunningCall running) : running_(std::move(running)) {}

  void Answer(absl::StatusOr<std::vector<int>> ids);
  void WriteNext();

  RunningCall running_;
  std::vector<int> ids_;
  size_t sent_ = 0;
  v1::ReadSessionResponse message_;
  absl::Status status_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_READ_SESSION_CALL_H_
