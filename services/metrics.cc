#include "services/metrics.h"

#include <string>

namespace kvasir {
namespace {

using prometheus::Histogram;
using prometheus::Registry;

// Ten microseconds to minutes: a step of a tiny model, a whole answer of a large one.
const Histogram::BucketBoundaries kSeconds = {
    0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300};

prometheus::Counter& AddCounter(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

}  // namespace

RequestMetrics::RequestMetrics(Registry& registry)
    : requests_(prometheus::BuildCounter()
                    .Name("kvasir_requests_total")
                    .Help("RPCs that have ended, by method and gRPC code")
                    .Register(registry)),
      seconds_(prometheus::BuildHistogram()
                   .Name("kvasir_request_seconds")
                   .Help("From an RPC's arrival until its status was sent")
                   .Register(registry)) {
  prometheus::BuildGauge()
      .Name("kvasir_build_info")
      .Help("1; what is running")
      .Register(registry)
      .Add({{"version", KVASIR_VERSION}})
      .Set(1);
}

void RequestMetrics::Record(std::string_view method, absl::StatusCode code, double seconds) {
  prometheus::Histogram* histogram = nullptr;
  prometheus::Counter* counter = nullptr;
  {
    const std::lock_guard lock(mutex_);
    Method& known = methods_[method];
    const auto name = [&] { return std::string(method); };
    if (known.seconds == nullptr) known.seconds = &seconds_.Add({{"method", name()}}, kSeconds);
    prometheus::Counter*& ended = known.ended[code];
    if (ended == nullptr) {
      ended = &requests_.Add({{"method", name()}, {"code", absl::StatusCodeToString(code)}});
    }
    histogram = known.seconds;
    counter = ended;
  }
  counter->Increment();
  histogram->Observe(seconds);
}

TokenizerMetrics::TokenizerMetrics(Registry& registry)
    : encoded_bytes_(AddCounter(registry, "kvasir_encoded_bytes_total", "Bytes of text encoded")),
      encoded_tokens_(
          AddCounter(registry, "kvasir_encoded_tokens_total", "Tokens that text was encoded to")),
      decoded_tokens_(AddCounter(registry, "kvasir_decoded_tokens_total", "Tokens decoded")),
      decoded_bytes_(AddCounter(registry, "kvasir_decoded_bytes_total",
                                "Bytes of text that tokens were decoded to")) {}

void TokenizerMetrics::RecordEncode(size_t bytes, size_t tokens) {
  encoded_bytes_.Increment(static_cast<double>(bytes));
  encoded_tokens_.Increment(static_cast<double>(tokens));
}

void TokenizerMetrics::RecordDecode(size_t tokens, size_t bytes) {
  decoded_tokens_.Increment(static_cast<double>(tokens));
  decoded_bytes_.Increment(static_cast<double>(bytes));
}

}  // namespace kvasir
