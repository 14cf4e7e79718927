#ifndef KVASIR_TESTS_ENGINE_ENGINE_HARNESS_H_
#define KVASIR_TESTS_ENGINE_ENGINE_HARNESS_H_

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"

namespace kvasir::testing {

// Everything that one Generate call brought.
struct Outcome {
  absl::Status status;
  GenerateStarted started;
  GenerateComplete complete;
  std::vector<int> ids;
  std::vector<TokenLogprob> logprobs;
  std::vector<TokenLogprob> prompt_logprobs;
};

// Collects a call's results; Wait blocks until it has ended.
class Recorder : public GenerateSink {
 public:
  // `on_token` runs on the engine's thread with the number of tokens so far.
  explicit Recorder(std::function<void(size_t)> on_token = nullptr)
      : on_token_(std::move(on_token)) {}

  bool HasRoom() const override { return room; }
  void OnStarted(const GenerateStarted& started) override { outcome_.started = started; }
  void OnTokens(std::span<const int> ids, std::span<const TokenLogprob> logprobs,
                std::span<const TokenLogprob> prompt_logprobs) override {
    outcome_.ids.insert(outcome_.ids.end(), ids.begin(), ids.end());
    outcome_.logprobs.insert(outcome_.logprobs.end(), logprobs.begin(), logprobs.end());
    outcome_.prompt_logprobs.insert(outcome_.prompt_logprobs.end(), prompt_logprobs.begin(),
                                    prompt_logprobs.end());
    received_ = outcome_.ids.size();
    if (on_token_) on_token_(outcome_.ids.size());
  }
  void OnComplete(const GenerateComplete& complete) override {
    outcome_.complete = complete;
    done_.set_value();
  }
  void OnError(const absl::Status& status) override {
    outcome_.status = status;
    done_.set_value();
  }

  const Outcome& Wait() {
    if (ended_.valid()) ended_.get();
    return outcome_;
  }

  // Tokens so far.
  size_t received() const { return received_; }

  std::atomic<bool> room = true;

 private:
  std::function<void(size_t)> on_token_;
  std::atomic<size_t> received_ = 0;
  Outcome outcome_;  // the engine's thread's until done_
  std::promise<void> done_;
  std::future<void> ended_ = done_.get_future();
};

// The engine's API, blocking.
class SyncEngine {
 public:
  // CHECK-fails where the engine cannot start.
  explicit SyncEngine(EngineOptions options);

  Outcome Generate(GenerateRequest request);
  std::shared_ptr<Recorder> Start(GenerateRequest request,
                                  std::shared_ptr<Recorder> recorder = nullptr);
  void Cancel(const std::shared_ptr<Recorder>& recorder);
  void Resume(const std::shared_ptr<Recorder>& recorder);

  absl::StatusOr<SessionInfo> Create(CreateSessionRequest request);
  absl::StatusOr<SessionInfo> Get(const std::string& id);
  absl::StatusOr<SessionPage> List(ListSessionsRequest request);
  absl::StatusOr<SessionInfo> Fork(const std::string& id, const std::string& new_id,
                                   std::optional<uint64_t> length = std::nullopt);
  absl::StatusOr<SessionInfo> Truncate(const std::string& id, uint64_t length,
                                       std::optional<uint64_t> expected = std::nullopt);
  absl::Status Delete(const std::string& id);
  absl::StatusOr<std::vector<int>> Read(const std::string& id, uint64_t offset = 0);
  void DropIdleBlocks();
  // After all that was posted before has been done.
  EngineStats Stats();

  Engine& engine() { return *engine_; }

 private:
  std::unique_ptr<Engine> engine_;
  std::mutex mutex_;
  std::vector<std::pair<std::weak_ptr<Recorder>, Engine::CallId>> calls_;  // guarded by mutex_
};

// Bit for bit: the same ids and the same log-probabilities.
std::string DifferenceOf(const std::vector<TokenLogprob>& a, const std::vector<TokenLogprob>& b);

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_ENGINE_HARNESS_H_
