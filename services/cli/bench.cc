#include "services/cli/bench.h"

#include <rapidjson/ostreamwrapper.h>
#include <rapidjson/prettywriter.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>

namespace kvasir::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kTokensAroundArrival = 24;  // before it and after it is served

// What steps took together.
struct Steps {
  int count = 0;
  double forward_seconds = 0;
  double sampling_seconds = 0;
};

struct Phase {
  double seconds = 0;
  Steps steps;
  double TokensPerSecond(int tokens) const { return tokens / seconds; }
  double SamplingShare() const { return steps.sampling_seconds / seconds; }
  // Of a step: all that is neither the model nor sampling, i.e. the scheduler and the delivery.
  double AroundSeconds() const {
    return (seconds - steps.forward_seconds - steps.sampling_seconds) / std::max(1, steps.count);
  }
};

struct Row {
  int batch = 0;
  Phase prefill, decode;
  // Between two tokens of a session.
  double usual_gap_seconds = 0;    // the median while nobody reads a prompt
  double late_gap_seconds = 0;     // the 99th percentile while the guest's prompt is read
  double longest_gap_seconds = 0;  // then
  int64_t peak_resident_bytes = 0;
};

// Calls that run together, until the last one has ended.
class Calls {
 public:
  explicit Calls(int count) : running_(count) {}

  void End(const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = status;
    if (--running_ == 0) ended_.notify_all();
  }
  absl::Status Wait() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return running_ == 0; });
    return status_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  int running_;
  absl::Status status_;
};

class BenchSink : public GenerateSink {
 public:
  explicit BenchSink(std::shared_ptr<Calls> calls) : calls_(std::move(calls)) {}

  bool HasRoom() const override { return true; }
  void OnStarted(const GenerateStarted&) override {}
  void OnTokens(std::span<const int>, std::span<const TokenLogprob>,
                std::span<const TokenLogprob>) override {}
  void OnComplete(const GenerateComplete&) override { calls_->End(absl::OkStatus()); }
  void OnError(const absl::Status& status) override { calls_->End(status); }

 private:
  const std::shared_ptr<Calls> calls_;
};

// When tokens came.
class TokenTimes : public GenerateSink {
 public:
  bool HasRoom() const override { return true; }
  void OnStarted(const GenerateStarted&) override {}
  void OnTokens(std::span<const int>, std::span<const TokenLogprob>,
                std::span<const TokenLogprob>) override {
    const std::lock_guard lock(mutex_);
    times_.push_back(Clock::now());
    changed_.notify_all();
  }
  void OnComplete(const GenerateComplete&) override { End(absl::OkStatus()); }
  void OnError(const absl::Status& status) override { End(status); }

  // Returns when so many have come, or the call has ended.
  void AwaitTokens(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return times_.size() >= count || ended_; });
  }
  absl::Status AwaitEnd() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_; });
    return status_;
  }
  std::vector<Clock::time_point> times() {
    const std::lock_guard lock(mutex_);
    return times_;
  }

 private:
  void End(const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    status_ = status;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Clock::time_point> times_;
  bool ended_ = false;
  absl::Status status_;
};

// From /proc/self/status, in bytes; 0 where it cannot be read.
int64_t PeakResidentBytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    int64_t kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib * 1024;
  }
  return 0;
}

// The smallest value that at least a share `q` of all do not exceed, 0 if there are none. Reorders
// the values.
double Quantile(std::vector<double>& values, double q) {
  if (values.empty()) return 0;
  const size_t rank = static_cast<size_t>(std::max(1.0, std::ceil(q * values.size()))) - 1;
  std::nth_element(values.begin(), values.begin() + rank, values.end());
  return values[rank];
}

// The kernel starts the peak anew from what is resident now (proc(5), clear_refs).
void ForgetPeakResidentBytes() { std::ofstream("/proc/self/clear_refs") << 5; }

class Bench {
 public:
  explicit Bench(const BenchOptions& options) : options_(options) {}

  int Run();

 private:
  absl::Status CheckRoom(int batch) const;
  // A call on each of `batch` sessions, all at once.
  absl::StatusOr<Phase> RunCalls(int batch, int input_tokens, uint32_t new_tokens);
  absl::Status DeleteSessions(int batch);
  absl::StatusOr<Row> Measure(int batch);
  // On the sessions of `batch`, which decode for ever meanwhile.
  absl::Status MeasureArrival(int batch, Row& row);
  std::vector<int> RandomIds(int count);
  // Of the steps since the last time.
  Steps TakeSteps();

  void Progress(const std::string& text) const;
  void PrintJson(const std::vector<Row>& rows) const;
  void PrintHeader() const;
  void PrintRow(const Row& row) const;

  const BenchOptions& options_;
  const bool progress_ = isatty(STDERR_FILENO) != 0;
  double load_seconds_ = 0;
  int64_t load_peak_bytes_ = 0;
  std::mutex steps_mutex_;
  Steps steps_;                     // guarded by steps_mutex_
  std::unique_ptr<Engine> engine_;  // its thread writes steps_
  std::mt19937 random_{1};
};

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "kvasir: %s\n", status.ToString().c_str());
  return 1;
}

void Bench::Progress(const std::string& text) const {
  if (progress_) std::fprintf(stderr, "\r\033[K%s", text.c_str());
}

absl::Status Bench::CheckRoom(int batch) const {
  const ModelInfo& info = engine_->model_info();
  const uint64_t tokens =
      static_cast<uint64_t>(options_.depth) + options_.prompt + options_.generate + 1;
  const uint64_t guest = options_.arrival;  // stores all but its new token
  if (guest >= info.max_context) {
    return absl::OutOfRangeError("--arrival=" + std::to_string(guest) +
                                 " leaves no room for a new token; the model's context is " +
                                 std::to_string(info.max_context));
  }
  if (tokens > info.max_context) {
    return absl::OutOfRangeError("--depth + --prompt + --generate + 1 is " +
                                 std::to_string(tokens) + " tokens; the model's context is " +
                                 std::to_string(info.max_context));
  }
  if (tokens * batch + guest > info.kv_tokens) {
    return absl::ResourceExhaustedError(
        "--batch=" + std::to_string(batch) + " needs " + std::to_string(tokens * batch + guest) +
        " tokens in the KV pool, which holds " + std::to_string(info.kv_tokens) +
        "; give more by --kv-memory");
  }
  return absl::OkStatus();
}

std::vector<int> Bench::RandomIds(int count) {
  std::uniform_int_distribution<int> id(0, static_cast<int>(engine_->model_info().vocab_size) - 1);
  std::vector<int> ids(count);
  for (int& each : ids) each = id(random_);
  return ids;
}

absl::StatusOr<Phase> Bench::RunCalls(int batch, int input_tokens, uint32_t new_tokens) {
  const auto calls = std::make_shared<Calls>(batch);
  std::vector<GenerateRequest> requests(batch);
  for (int i = 0; i < batch; ++i) {
    requests[i].session_id = "bench-" + std::to_string(i);
    requests[i].create_if_missing = true;
    requests[i].input_ids = RandomIds(input_tokens);
    requests[i].max_new_tokens = new_tokens;
    requests[i].ignore_eos = true;
  }
  TakeSteps();
  const Clock::time_point start = Clock::now();
  for (GenerateRequest& request : requests) {
    engine_->Generate(std::move(request), std::make_shared<BenchSink>(calls));
  }
  if (absl::Status status = calls->Wait(); !status.ok()) return status;
  const std::chrono::duration<double> took = Clock::now() - start;
  return Phase{took.count(), TakeSteps()};
}

Steps Bench::TakeSteps() {
  const std::lock_guard lock(steps_mutex_);
  return std::exchange(steps_, {});
}

absl::Status Bench::DeleteSessions(int batch) {
  const auto calls = std::make_shared<Calls>(batch);
  for (int i = 0; i < batch; ++i) {
    engine_->DeleteSession("", "bench-" + std::to_string(i),
                           [calls](const absl::Status& status) { calls->End(status); });
  }
  return calls->Wait();
}

absl::StatusOr<Row> Bench::Measure(int batch) {
  const std::string name = "batch " + std::to_string(batch) + ": ";
  Row row;
  row.batch = batch;
  ForgetPeakResidentBytes();
  if (options_.depth > 0) {
    Progress(name + "filling the sessions");
    const absl::StatusOr<Phase> filled = RunCalls(batch, options_.depth, 0);
    if (!filled.ok()) return filled.status();
  }
  Progress(name + "prefill");
  const absl::StatusOr<Phase> prefill = RunCalls(batch, options_.prompt, 1);
  if (!prefill.ok()) return prefill.status();
  Progress(name + "decode");
  const absl::StatusOr<Phase> decode = RunCalls(batch, 0, options_.generate);
  if (!decode.ok()) return decode.status();
  row.prefill = *prefill;
  row.decode = *decode;
  if (options_.arrival > 0) {
    Progress(name + "arrival");
    if (absl::Status status = MeasureArrival(batch, row); !status.ok()) return status;
  }
  row.peak_resident_bytes = PeakResidentBytes();
  Progress("");
  if (absl::Status status = DeleteSessions(batch); !status.ok()) return status;
  return row;
}

absl::Status Bench::MeasureArrival(int batch, Row& row) {
  std::vector<std::shared_ptr<TokenTimes>> talkers;
  std::vector<Engine::CallId> calls;
  for (int i = 0; i < batch; ++i) {
    talkers.push_back(std::make_shared<TokenTimes>());
    calls.push_back(engine_->Generate(
        {.session_id = "bench-" + std::to_string(i), .ignore_eos = true}, talkers.back()));
  }
  for (const auto& talker : talkers) talker->AwaitTokens(kTokensAroundArrival);
  const Clock::time_point arrived = Clock::now();
  const auto guest = std::make_shared<TokenTimes>();
  engine_->Generate({.input_ids = RandomIds(options_.arrival), .max_new_tokens = 1}, guest);
  absl::Status status = guest->AwaitEnd();
  const Clock::time_point served = Clock::now();
  const size_t more = talkers[0]->times().size() + kTokensAroundArrival;
  talkers[0]->AwaitTokens(more);
  for (Engine::CallId call : calls) engine_->Cancel(call);

  std::vector<double> usual, held_up;
  for (const auto& talker : talkers) {
    const absl::Status ended = talker->AwaitEnd();
    if (status.ok() && !absl::IsCancelled(ended)) status = ended;
    const std::vector<Clock::time_point> times = talker->times();
    for (size_t t = 1; t < times.size(); ++t) {
      const bool alone = times[t] < arrived || times[t - 1] > served;
      const double gap = std::chrono::duration<double>(times[t] - times[t - 1]).count();
      (alone ? usual : held_up).push_back(gap);
    }
  }
  row.usual_gap_seconds = Quantile(usual, 0.5);
  row.late_gap_seconds = Quantile(held_up, 0.99);
  row.longest_gap_seconds = Quantile(held_up, 1);
  return status;
}

void Bench::PrintJson(const std::vector<Row>& rows) const {
  rapidjson::OStreamWrapper out(std::cout);
  rapidjson::PrettyWriter<rapidjson::OStreamWrapper> writer(out);
  writer.SetIndent(' ', 2);
  writer.StartArray();
  for (const Row& row : rows) {
    writer.StartObject();
    writer.Key("prompt_tokens");
    writer.Int(options_.prompt);
    writer.Key("generated_tokens");
    writer.Int(options_.generate);
    writer.Key("batch");
    writer.Int(row.batch);
    writer.Key("depth");
    writer.Int(options_.depth);
    writer.Key("prefill_tokens_per_second");
    writer.Double(row.prefill.TokensPerSecond(row.batch * options_.prompt));
    writer.Key("prefill_seconds");
    writer.Double(row.prefill.seconds);
    writer.Key("prefill_step_seconds");
    writer.Double(row.prefill.steps.forward_seconds + row.prefill.steps.sampling_seconds);
    writer.Key("decode_tokens_per_second");
    writer.Double(row.decode.TokensPerSecond(row.batch * options_.generate));
    writer.Key("decode_sampling_share");
    writer.Double(row.decode.SamplingShare());
    writer.Key("decode_around_seconds");
    writer.Double(row.decode.AroundSeconds());
    if (options_.arrival > 0) {
      writer.Key("arrival_tokens");
      writer.Int(options_.arrival);
      writer.Key("usual_gap_seconds");
      writer.Double(row.usual_gap_seconds);
      writer.Key("late_gap_seconds");
      writer.Double(row.late_gap_seconds);
      writer.Key("longest_gap_seconds");
      writer.Double(row.longest_gap_seconds);
    }
    writer.Key("load_seconds");
    writer.Double(load_seconds_);
    writer.Key("load_peak_resident_bytes");
    writer.Int64(load_peak_bytes_);
    writer.Key("peak_resident_bytes");
    writer.Int64(row.peak_resident_bytes);
    writer.EndObject();
  }
  writer.EndArray();
  std::cout << std::endl;
}

void Bench::PrintHeader() const {
  const ModelInfo& info = engine_->model_info();
  std::printf("%s, %s on %s (%s); ready in %.2f s\n", info.model_name.c_str(), info.dtype.c_str(),
              info.device.c_str(), info.numerics.c_str(), load_seconds_);
  std::printf("%6s %8s %8s %10s %16s %16s %11s %10s %10s\n", "batch", "depth", "prompt",
              "generated", "prefill tokens/s", "decode tokens/s", "sampling %", "other us",
              "peak MiB");
  std::fflush(stdout);
}

void Bench::PrintRow(const Row& row) const {
  std::printf(
      "%6d %8d %8d %10d %16.1f %16.1f %11.1f %10.0f %10lld\n", row.batch, options_.depth,
      options_.prompt, options_.generate, row.prefill.TokensPerSecond(row.batch * options_.prompt),
      row.decode.TokensPerSecond(row.batch * options_.generate), row.decode.SamplingShare() * 100,
      row.decode.AroundSeconds() * 1e6, static_cast<long long>(row.peak_resident_bytes >> 20));
  if (options_.arrival > 0) {
    std::printf(
        "       a token every %.1f ms; while a prompt of %d is read, 99 of 100 in %.1f ms, the "
        "longest in %.1f ms\n",
        row.usual_gap_seconds * 1e3, options_.arrival, row.late_gap_seconds * 1e3,
        row.longest_gap_seconds * 1e3);
  }
  std::fflush(stdout);
}

int Bench::Run() {
  Progress("loading the model");
  const Clock::time_point start = Clock::now();
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(options_.engine);
  load_seconds_ = std::chrono::duration<double>(Clock::now() - start).count();
  load_peak_bytes_ = PeakResidentBytes();
  Progress("");
  if (!engine.ok()) return Fail(engine.status());
  engine_ = *std::move(engine);
  engine_->set_step_observer([this](const StepReport& step) {
    const std::lock_guard lock(steps_mutex_);
    ++steps_.count;
    steps_.forward_seconds += step.forward_seconds;
    steps_.sampling_seconds += step.sampling_seconds;
  });
  for (int batch : options_.batches) {
    if (absl::Status status = CheckRoom(batch); !status.ok()) return Fail(status);
  }
  // The first steps also touch memory for the first time: a full one does for all.
  const absl::StatusOr<Phase> warm = RunCalls(1, std::min(options_.prompt, 512), 2);
  if (!warm.ok()) return Fail(warm.status());
  if (absl::Status status = DeleteSessions(1); !status.ok()) return Fail(status);

  if (!options_.json) PrintHeader();
  std::vector<Row> rows;
  for (int batch : options_.batches) {
    const absl::StatusOr<Row> row = Measure(batch);
    if (!row.ok()) {
      Progress("");
      return Fail(row.status());
    }
    rows.push_back(*row);
    if (!options_.json) PrintRow(*row);
  }
  if (options_.json) PrintJson(rows);
  return 0;
}

}  // namespace

int RunBench(const BenchOptions& options) { return Bench(options).Run(); }

}  // namespace kvasir::cli
