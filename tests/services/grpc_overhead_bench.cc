// What gRPC costs: the same calls to the same engine, in process and through the model service on
// loopback, in turns; client and server share the CPUs.
//
//   grpc_overhead_bench [MODEL_DIR [BATCH [TOKENS [ROUNDS]]]]
//
// Prints one JSON object of medians: tokens a second of BATCH calls together, seconds until a call
// that is alone has its first token, and how much the service loses and adds, round by round: the
// machine may be another from one round to the next. With few TOKENS the first step, which not all
// calls reach in time over gRPC, counts for much.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/check.h"
#include "tests/services/model_server.h"

namespace kvasir {
namespace {

using Clock = std::chrono::steady_clock;

// Counts calls that run together.
class Countdown {
 public:
  explicit Countdown(int count) : left_(count) {}
  void Done() {
    const std::lock_guard lock(mutex_);
    if (--left_ == 0) zero_.notify_all();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    zero_.wait(lock, [&] { return left_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable zero_;
  int left_;
};

struct Timing {
  double seconds = 0;
  double first_token = 0;  // of the first call
};

class DirectCall : public GenerateSink {
 public:
  DirectCall(Countdown& countdown, Clock::time_point* first)
      : countdown_(countdown), first_(first) {}
  bool HasRoom() const override { return true; }
  void OnStarted(const GenerateStarted&) override {}
  void OnTokens(std::span<const int>, std::span<const TokenLogprob>,
                std::span<const TokenLogprob>) override {
    if (first_ != nullptr) *std::exchange(first_, nullptr) = Clock::now();
  }
  void OnComplete(const GenerateComplete&) override { countdown_.Done(); }
  void OnError(const absl::Status& status) override { KVASIR_CHECK(status.ok()); }

 private:
  Countdown& countdown_;
  Clock::time_point* first_;
};

class RemoteCall : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  RemoteCall(v1::ModelService::Stub& stub, const v1::GenerateRequest& request, Countdown& countdown,
             Clock::time_point* first)
      : request_(request), countdown_(countdown), first_(first) {
    stub.async()->Generate(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (response_.has_chunk() && first_ != nullptr) *std::exchange(first_, nullptr) = Clock::now();
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    KVASIR_CHECK(status.ok());
    countdown_.Done();
  }

 private:
  grpc::ClientContext context_;
  const v1::GenerateRequest request_;
  v1::GenerateResponse response_;
  Countdown& countdown_;
  Clock::time_point* first_;
};

Timing Direct(Engine& engine, int batch, uint32_t tokens) {
  Countdown countdown(batch);
  Clock::time_point first;
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < batch; ++i) {
    engine.Generate({.input_ids = {1, 2, i + 3}, .max_new_tokens = tokens, .ignore_eos = true},
                    std::make_shared<DirectCall>(countdown, i == 0 ? &first : nullptr));
  }
  countdown.Wait();
  return {std::chrono::duration<double>(Clock::now() - start).count(),
          std::chrono::duration<double>(first - start).count()};
}

Timing Remote(v1::ModelService::Stub& stub, int batch, uint32_t tokens) {
  Countdown countdown(batch);
  Clock::time_point first;
  std::vector<std::unique_ptr<RemoteCall>> calls;
  const Clock::time_point start = Clock::now();
  for (uint32_t i = 0; i < static_cast<uint32_t>(batch); ++i) {
    calls.push_back(std::make_unique<RemoteCall>(stub, testing::AskFor("", {1, 2, i + 3}, tokens),
                                                 countdown, i == 0 ? &first : nullptr));
  }
  countdown.Wait();
  return {std::chrono::duration<double>(Clock::now() - start).count(),
          std::chrono::duration<double>(first - start).count()};
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

int Main(int argc, char** argv) {
  EngineOptions options = testing::TinyOptions();
  options.threads = 0;
  if (argc > 1) {
    options.model_dir = argv[1];
    options.kv_memory = int64_t{512} << 20;
  }
  const int batch = argc > 2 ? std::atoi(argv[2]) : 16;
  const int tokens = argc > 3 ? std::atoi(argv[3]) : 200;
  const int rounds = argc > 4 ? std::atoi(argv[4]) : 11;
  KVASIR_CHECK(batch > 0 && tokens > 0 && rounds > 0);
  testing::ModelServer server(options);
  Engine& engine = server.engine();
  Direct(engine, batch, tokens);  // a warm-up of each
  Remote(server.stub(), batch, tokens);
  std::vector<double> direct, remote, loss, direct_first, remote_first, added;
  for (int round = 0; round < rounds; ++round) {
    direct.push_back(batch * tokens / Direct(engine, batch, tokens).seconds);
    remote.push_back(batch * tokens / Remote(server.stub(), batch, tokens).seconds);
    direct_first.push_back(Direct(engine, 1, 1).first_token);
    remote_first.push_back(Remote(server.stub(), 1, 1).first_token);
    loss.push_back(1 - remote.back() / direct.back());
    added.push_back(remote_first.back() - direct_first.back());
  }
  std::printf(
      "{\"batch\": %d, \"direct_tokens_per_second\": %.1f, \"grpc_tokens_per_second\": %.1f, "
      "\"loss_percent\": %.2f,\n \"direct_first_token_ms\": %.3f, \"grpc_first_token_ms\": %.3f, "
      "\"added_ms\": %.3f, \"direct_step_us\": %.1f}\n",
      batch, Median(direct), Median(remote), 100 * Median(loss), Median(direct_first) * 1e3,
      Median(remote_first) * 1e3, Median(added) * 1e3, 1e6 * batch / Median(direct));
  return 0;
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) { return kvasir::Main(argc, argv); }
