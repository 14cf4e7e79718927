#include "services/read_session_call.h"

#include <algorithm>
#include <utility>

#include "services/grpc_status.h"

namespace kvasir {

grpc::ServerWriteReactor<v1::ReadSessionResponse>* ReadSessionCall::Begin(
    Engine& engine, const v1::ReadSessionRequest& request, RunningCall running) {
  auto* call = new ReadSessionCall(std::move(running));
  engine.ReadSession(
      call->running_.context().tenant, request.session_id(), request.offset(),
      [call](absl::StatusOr<std::vector<int>> ids) { call->Answer(std::move(ids)); });
  return call;
}

void ReadSessionCall::Answer(absl::StatusOr<std::vector<int>> ids) {
  if (!ids.ok()) {
    status_ = ids.status();
    Finish(ToGrpcStatus(ids.status()));
    return;
  }
  ids_ = *std::move(ids);
  WriteNext();
}

void ReadSessionCall::WriteNext() {
  if (sent_ == ids_.size()) {
    Finish(grpc::Status::OK);
    return;
  }
  const size_t end = std::min(sent_ + kChunkIds, ids_.size());
  message_.clear_ids();
  for (; sent_ < end; ++sent_) message_.add_ids(static_cast<uint32_t>(ids_[sent_]));
  StartWrite(&message_);
}

void ReadSessionCall::OnWriteDone(bool ok) {
  if (ok) {
    WriteNext();
    return;
  }
  status_ = absl::CancelledError("the client is gone");
  Finish(grpc::Status::CANCELLED);
}

void ReadSessionCall::OnDone() {
  running_.End(std::move(status_));
  delete this;
}

}  // namespace kvasir
