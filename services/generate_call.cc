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
                           RunningCall running)
    : engine_(engine), context_(context), running_(std::move(running)), stream_(kWaitingTokens) {}

grpc::ServerWriteReactor<v1::GenerateResponse>* GenerateCall::Begin(
    Engine& engine, const grpc::CallbackServerContext& context, GenerateRequest request,
    RunningCall running) {
  const std::shared_ptr<GenerateCall> call(new GenerateCall(engine, context, std::move(running)));
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
  {
    const std::lock_guard lock(mutex_);
    stream_.Start(started);
  }
  Advance();
}

void GenerateCall::OnTokens(std::span<const int> ids, std::span<const TokenLogprob> logprobs,
                            std::span<const TokenLogprob> prompt_logprobs) {
  {
    const std::lock_guard lock(mutex_);
    stream_.Append(ids, logprobs, prompt_logprobs);
  }
  Advance();
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
  running_.End(code_);
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
      code_ = error.code();
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
