#ifndef KVASIR_SERVICES_OTLP_CLIENT_H_
#define KVASIR_SERVICES_OTLP_CLIENT_H_

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace kvasir {

// One connection to an OpenTelemetry collector, by HTTP.
class OtlpClient {
 public:
  // `endpoint`: http://HOST:4318 or https://...; "/v1/traces" is added.
  // INVALID_ARGUMENT where it is not such a URL.
  static absl::StatusOr<OtlpClient> Create(const std::string& endpoint);

  struct Answer {
    enum class Kind { kTaken, kRejected, kTryAgain } kind = Kind::kTryAgain;
    uint64_t rejected_spans = 0;                // where the collector took only some
    std::optional<absl::Duration> retry_after;  // where it said so
    std::string error;                          // why not
  };
  // Sends one message and waits for the answer, 10 s at most; about 2 s at most after Hurry.
  Answer Post(const std::string& body);

  // From any thread: a message on its way, and all that follow, get little time from now on.
  void Hurry();

 private:
  struct Deleter {
    void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };
  OtlpClient() = default;

  std::string url_;
  std::unique_ptr<CURL, Deleter> curl_;
  std::unique_ptr<curl_slist, Deleter> headers_;
  // Steady nanoseconds when all must be over; 0: not yet.
  std::shared_ptr<std::atomic<int64_t>> end_ = std::make_shared<std::atomic<int64_t>>(0);
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_OTLP_CLIENT_H_
