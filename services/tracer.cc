#include "services/tracer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <random>

#include "absl/strings/str_cat.h"

namespace kvasir {
namespace {

constexpr int kAttempts = 5;
constexpr absl::Duration kFirstPause = absl::Milliseconds(500);  // then twice as long each time
constexpr absl::Duration kLongestPause = absl::Seconds(30);      // whatever the collector asks for

}  // namespace

absl::StatusOr<std::unique_ptr<Tracer>> Tracer::Start(Options options) {
  absl::StatusOr<OtlpClient> client = OtlpClient::Create(options.endpoint);
  if (!client.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--otlp-endpoint: ", options.endpoint, " is ",
                                                   std::string(client.status().message())));
  }
  return std::unique_ptr<Tracer>(new Tracer(std::move(options), *std::move(client)));
}

Tracer::Tracer(Options options, OtlpClient client)
    : options_(std::move(options)), client_(std::move(client)), thread_([this] { Loop(); }) {}

Tracer::~Tracer() {
  client_.Hurry();
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Tracer::Record(std::vector<Span> spans) {
  size_t queued = 0;
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() + spans.size() > kMaxQueued) {
      overflowed_ += spans.size();
      return;
    }
    queue_.insert(queue_.end(), std::make_move_iterator(spans.begin()),
                  std::make_move_iterator(spans.end()));
    queued = queue_.size();
  }
  if (queued >= kMaxBatch) wake_.notify_one();
}

Tracer::Stats Tracer::stats() const { return {exported_, overflowed_, rejected_, undelivered_}; }

void Tracer::Loop() {
  std::vector<Span> batch;
  while (Take(batch)) {
    if (!batch.empty()) Send(batch);
  }
}

bool Tracer::Take(std::vector<Span>& batch) {
  std::unique_lock lock(mutex_);
  wake_.wait_for(lock, absl::ToChronoMilliseconds(kBatchTime),
                 [this] { return ending_ || queue_.size() >= kMaxBatch; });
  const auto end = queue_.begin() + static_cast<ptrdiff_t>(std::min(queue_.size(), kMaxBatch));
  batch.assign(std::make_move_iterator(queue_.begin()), std::make_move_iterator(end));
  queue_.erase(queue_.begin(), end);
  return !ending_ || !batch.empty();
}

void Tracer::Send(const std::vector<Span>& batch) {
  const std::string body = EncodeOtlp(batch, options_.resource);
  absl::Duration pause = kFirstPause;
  OtlpClient::Answer answer;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    answer = client_.Post(body);
    if (answer.kind == OtlpClient::Answer::Kind::kTaken) {
      const uint64_t refused = std::min<uint64_t>(answer.rejected_spans, batch.size());
      rejected_ += refused;
      exported_ += batch.size() - refused;
      if (std::exchange(failing_, false)) spdlog::info("traces: the collector takes spans again");
      return;
    }
    if (answer.kind == OtlpClient::Answer::Kind::kRejected || attempt + 1 == kAttempts) break;
    const double jitter = std::uniform_real_distribution(0.5, 1.0)(random_);
    if (!Pause(std::min(answer.retry_after.value_or(pause * jitter), kLongestPause))) break;
    pause *= 2;
  }
  const bool rejected = answer.kind == OtlpClient::Answer::Kind::kRejected;
  (rejected ? rejected_ : undelivered_) += batch.size();
  if (!std::exchange(failing_, true)) {
    spdlog::warn("traces: the collector does not take spans: {}; they are dropped", answer.error);
  }
}

bool Tracer::Pause(absl::Duration time) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, absl::ToChronoMilliseconds(time), [this] { return ending_; });
}

}  // namespace kvasir
