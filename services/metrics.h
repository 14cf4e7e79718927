#ifndef KVASIR_SERVICES_METRICS_H_
#define KVASIR_SERVICES_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <mutex>
#include <string_view>

#include "absl/status/status.h"

namespace kvasir {

// kvasir_requests_total{method,code}, kvasir_request_seconds{method} and kvasir_build_info.
// Thread-safe.
class RequestMetrics {
 public:
  explicit RequestMetrics(prometheus::Registry& registry);

  // `method`: a literal.
  void Record(std::string_view method, absl::StatusCode code, double seconds);

 private:
  // To ask a family for its member costs more than some RPCs do: it is asked once.
  struct Method {
    prometheus::Histogram* seconds = nullptr;
    std::map<absl::StatusCode, prometheus::Counter*> ended;
  };

  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Histogram>& seconds_;
  std::mutex mutex_;
  std::map<std::string_view, Method> methods_;  // guarded by mutex_
};

// What the tokenizer service turned into what.
class TokenizerMetrics {
 public:
  explicit TokenizerMetrics(prometheus::Registry& registry);

  void RecordEncode(size_t bytes, size_t tokens);
  void RecordDecode(size_t tokens, size_t bytes);

 private:
  prometheus::Counter& encoded_bytes_;
  prometheus::Counter& encoded_tokens_;
  prometheus::Counter& decoded_tokens_;
  prometheus::Counter& decoded_bytes_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_METRICS_H_
