#include "services/generate_call.h"

#include <chrono>
#include <utility>

#include "services/grpc_status.h"

namespace kvasir {
namespace {

// Tokens that may wait for a slow client before its call pauses.
constexpr size_t kWaitingTokens = 256;

// A client's clock starts before ours: it gives up this much before our deadline at most.
constexpr std::chrono::milliseconds kDeadlineSlack(100);

}  // namespace

GenerateCall::GenerateCall(Engine& engine, const grpc::CallbackServerContext& context,
                           RunningCall running, GenerateMetrics& metrics)
    : engine_(engine),
      context_(context),
      running_(std::move(running)),
      metrics_(metrics),
      stream_(kWaitingTokens) {}

grpc::ServerWriteReactor<v1::GenerateResponse>* GenerateCall::Begin(
    Engine& engine, const grpc::CallbackServerContext& context, GenerateRequest request,
    RunningCall running, GenerateMetrics& metrics) {
  const std::shared_ptr<GenerateCall> call(
      new GenerateCall(engine, context, std::move(running), metrics));
  call->self_ = call;
  // Results may come before the next line; gRPC holds them back until the reactor is its own.
  call->id_ = engine.Generate(std::move(request), call);
  return call.get();
}

bool GenerateCall::HasRoom() const {
  const std::lock_guard lock(mutex_);
  return stream_.HasRoom();
}

void GenerateCall::OnStarted(const GenerateStarted& started) {
  metrics_.RecordStarted(started);
  {
    const std::lock_guard lock(mutex_);
    stream_.Start(started);
  }
  Advance();
}

void GenerateCall::OnTokens(std::span<const int> ids, std::span<const TokenLogprob> logprobs,
                            std::span<const TokenLogprob> prompt_logprobs) {
  if (!ids.empty()) {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double> time =
        now - last_tokens_.value_or(running_.context().begun);
    if (last_tokens_) {
      metrics_.RecordTokens(time.count(), ids.size());
    } else {
      metrics_.RecordFirstToken(time.count());
    }
    last_tokens_ = now;
  }
  {
    const std::lock_guard lock(mutex_);
    stream_.Append(ids, logprobs, prompt_logprobs);
  }
  Advance();
}

void GenerateCall::OnReport(const GenerateReport& report) {
  metrics_.RecordReport(TenantOf(running_.context()), report);
  running_.record().generate = report;
}

void GenerateCall::OnComplete(const GenerateComplete& complete) {
  {
    const std::lock_guard lock(mutex_);
    stream_.Complete(complete);
  }
  Advance();
}

void GenerateCall::OnError(const absl::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    stream_.Fail(status);
  }
  Advance();
}

void GenerateCall::OnWriteDone(bool ok) {
  {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    unreachable_ |= !ok;
  }
  if (!ok) engine_.Cancel(id_);
  Advance();
}

// Also what a passed deadline leads to.
void GenerateCall::OnCancel() { engine_.Cancel(id_); }

void GenerateCall::OnDone() {
  const std::chrono::duration<double> took =
      std::chrono::steady_clock::now() - running_.context().begun;
  metrics_.RecordEnd(status_.code(), took.count());
  running_.End(std::move(status_));
  const std::shared_ptr<GenerateCall> last = std::move(self_);  // may be the end of this
}

void GenerateCall::Advance() {
  bool was_full = false;
  auto next = TokenStream::Next::kNothing;
  {
    const std::lock_guard lock(mutex_);
    if (writing_) return;
    was_full = !stream_.HasRoom();
    do {
      next = stream_.Take(message_);
    } while (unreachable_ && next == TokenStream::Next::kMessage);
    if (next == TokenStream::Next::kNothing) return;
    writing_ = true;  // for ever, where this is the last thing to be sent
  }
  // gRPC may call OnWriteDone before these return: no lock is held.
  switch (next) {
    case TokenStream::Next::kNothing:
      return;
    case TokenStream::Next::kMessage:
      StartWrite(&message_);
      break;
    case TokenStream::Next::kLastMessage:
      StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
      return;  // this may be gone, but for the engine's reference
    case TokenStream::Next::kError: {
      const absl::Status error = FinalError();
      status_ = error;
      Finish(ToGrpcStatus(error));
      return;
    }
  }
  if (was_full) engine_.Resume(id_);
}

absl::Status GenerateCall::FinalError() const {
  const absl::Status& error = stream_.error();
  if (error.code() == absl::StatusCode::kCancelled &&
      context_.deadline() <= std::chrono::system_clock::now() + kDeadlineSlack) {
    return absl::DeadlineExceededError("the call's deadline has passed");
  }
  return error;
}

}  // namespace kvasir
