#include "tests/engine/engine_harness.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace kvasir::testing {
namespace {

// Runs `start(callback)` and waits for what the callback is given.
template <typename T, typename Start>
T Await(Start start) {
  // Shared: set_value may still be at work when the waiter is gone.
  const auto promise = std::make_shared<std::promise<T>>();
  start([promise](T value) { promise->set_value(std::move(value)); });
  return promise->get_future().get();
}

}  // namespace

SyncEngine::SyncEngine(EngineOptions options) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(std::move(options));
  if (!engine.ok()) {
    std::fprintf(stderr, "%s\n", engine.status().ToString().c_str());
    std::abort();
  }
  engine_ = *std::move(engine);
}

Outcome SyncEngine::Generate(GenerateRequest request) { return Start(std::move(request))->Wait(); }

std::shared_ptr<Recorder> SyncEngine::Start(GenerateRequest request,
                                            std::shared_ptr<Recorder> recorder) {
  if (recorder == nullptr) recorder = std::make_shared<Recorder>();
  const std::lock_guard lock(mutex_);
  std::erase_if(calls_, [](const auto& call) { return call.first.expired(); });
  calls_.emplace_back(recorder, engine_->Generate(std::move(request), recorder));
  return recorder;
}

void SyncEngine::Cancel(const std::shared_ptr<Recorder>& recorder) {
  const std::lock_guard lock(mutex_);
  for (const auto& [weak, id] : calls_) {
    if (weak.lock() == recorder) engine_->Cancel(id);
  }
}

void SyncEngine::Resume(const std::shared_ptr<Recorder>& recorder) {
  const std::lock_guard lock(mutex_);
  for (const auto& [weak, id] : calls_) {
    if (weak.lock() == recorder) engine_->Resume(id);
  }
}

absl::StatusOr<SessionInfo> SyncEngine::Create(CreateSessionRequest request) {
  return Await<absl::StatusOr<SessionInfo>>(
      [&](auto done) { engine_->CreateSession(std::move(request), std::move(done)); });
}

absl::StatusOr<SessionInfo> SyncEngine::Get(const std::string& id) {
  return Await<absl::StatusOr<SessionInfo>>(
      [&](auto done) { engine_->GetSession("", id, std::move(done)); });
}

absl::StatusOr<SessionPage> SyncEngine::List(ListSessionsRequest request) {
  return Await<absl::StatusOr<SessionPage>>(
      [&](auto done) { engine_->ListSessions(std::move(request), std::move(done)); });
}

absl::StatusOr<SessionInfo> SyncEngine::Fork(const std::string& id, const std::string& new_id,
                                             std::optional<uint64_t> length) {
  return Await<absl::StatusOr<SessionInfo>>(
      [&](auto done) { engine_->ForkSession("", id, new_id, length, std::move(done)); });
}

absl::StatusOr<SessionInfo> SyncEngine::Truncate(const std::string& id, uint64_t length,
                                                 std::optional<uint64_t> expected) {
  return Await<absl::StatusOr<SessionInfo>>(
      [&](auto done) { engine_->TruncateSession("", id, length, expected, std::move(done)); });
}

absl::Status SyncEngine::Delete(const std::string& id) {
  return Await<absl::Status>([&](auto done) { engine_->DeleteSession("", id, std::move(done)); });
}

absl::StatusOr<std::vector<int>> SyncEngine::Read(const std::string& id, uint64_t offset) {
  return Await<absl::StatusOr<std::vector<int>>>(
      [&](auto done) { engine_->ReadSession("", id, offset, std::move(done)); });
}

void SyncEngine::DropIdleBlocks() {
  Await<bool>([&](auto done) {
    engine_->DropIdleBlocks([done = std::move(done)]() mutable { done(true); });
  });
}

EngineStats SyncEngine::Stats() {
  // Figures are published at the end of the engine's turn: the second question is answered in a
  // later turn than the first.
  (void)List({});
  (void)List({});
  return engine_->stats();
}

std::string DifferenceOf(const std::vector<TokenLogprob>& a, const std::vector<TokenLogprob>& b) {
  const auto bits = [](float value) { return std::bit_cast<uint32_t>(value); };
  if (a.size() != b.size()) return absl::StrCat("lengths ", a.size(), " and ", b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].id != b[i].id) return absl::StrCat("ids at ", i, ": ", a[i].id, " and ", b[i].id);
    if (bits(a[i].logprob) != bits(b[i].logprob)) {
      return absl::StrCat("log-probabilities at ", i, ": ", a[i].logprob, " and ", b[i].logprob);
    }
    if (a[i].alternatives.size() != b[i].alternatives.size()) return "numbers of alternatives";
    for (size_t j = 0; j < a[i].alternatives.size(); ++j) {
      const auto& x = a[i].alternatives[j];
      const auto& y = b[i].alternatives[j];
      if (x.id != y.id || bits(x.logprob) != bits(y.logprob)) {
        return absl::StrCat("alternative ", j, " at ", i);
      }
    }
  }
  return "";
}

}  // namespace kvasir::testing
