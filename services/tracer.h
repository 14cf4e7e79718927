#ifndef KVASIR_SERVICES_TRACER_H_
#define KVASIR_SERVICES_TRACER_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/otlp_client.h"
#include "services/span.h"

namespace kvasir {

// Sends spans to a collector, from a thread of its own. Who records never waits: while the
// collector is slow, or away, spans are kept up to a limit, then dropped and counted.
class Tracer {
 public:
  static constexpr size_t kMaxQueued = 2048;  // spans, besides one batch on its way
  static constexpr size_t kMaxBatch = 512;    // spans of one message
  static constexpr absl::Duration kBatchTime = absl::Seconds(1);  // that a batch is waited for

  struct Options {
    std::string endpoint;  // http://HOST:4318; "/v1/traces" is added
    std::vector<std::pair<std::string_view, std::string>> resource;  // as EncodeOtlp
  };
  // INVALID_ARGUMENT naming the endpoint where it is not a URL of http or https.
  static absl::StatusOr<std::unique_ptr<Tracer>> Start(Options options);
  // Sends what is left, for about two seconds at most.
  ~Tracer();
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  // --- from any thread ---

  void Record(std::vector<Span> spans);

  struct Stats {
    uint64_t exported = 0;    // spans that the collector took
    uint64_t overflowed = 0;  // dropped: the queue was full
    uint64_t rejected = 0;    // dropped: the collector refused them
    uint64_t undelivered =
        0;  // dropped: the collector could not be reached for long, or at the end
  };
  Stats stats() const;

 private:
  Tracer(Options options, OtlpClient client);

  void Loop();
  // False: it is time to end, and nothing is left.
  bool Take(std::vector<Span>& batch);
  void Send(const std::vector<Span>& batch);
  // False: it is time to end.
  bool Pause(absl::Duration time);

  const Options options_;
  OtlpClient client_;     // the thread's, but for Hurry
  bool failing_ = false;  // the thread's: it has been told
  std::minstd_rand random_{std::random_device()()};
  std::atomic<uint64_t> exported_ = 0, overflowed_ = 0, rejected_ = 0, undelivered_ = 0;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Span> queue_;  // guarded by mutex_
  bool ending_ = false;     // guarded by mutex_

  std::thread thread_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_TRACER_H_
