#include "services/metrics.h"

#include <exception>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace kvasir {
namespace {

using prometheus::Histogram;
using prometheus::Registry;

// Ten microseconds to minutes: a step of a tiny model, a whole answer of a large one.
const Histogram::BucketBoundaries kSeconds = {
    0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300};
const Histogram::BucketBoundaries kTokens = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};

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
  const std::string name(method);
  requests_.Add({{"method", name}, {"code", absl::StatusCodeToString(code)}}).Increment();
  seconds_.Add({{"method", name}}, kSeconds).Observe(seconds);
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

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(
    const std::string& address) {
  // Where they stay: see the destructor's contract.
  static auto* const until_exit = new std::vector<std::unique_ptr<prometheus::Exposer>>;
  try {  // the library throws
    auto exposer = std::make_unique<prometheus::Exposer>(address);
    const std::vector<int> ports = exposer->GetListeningPorts();
    if (ports.empty()) {
      return absl::UnavailableError(absl::StrCat("--metrics: cannot listen on ", address));
    }
    const std::string host = address.substr(0, address.rfind(':') + 1);
    return std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(
        *until_exit->emplace_back(std::move(exposer)), absl::StrCat(host, ports.front())));
  } catch (const std::exception&) {  // its what() is "null context when constructing CivetServer"
    return absl::UnavailableError(absl::StrCat("--metrics: cannot listen on ", address,
                                               " (taken, or no IP address of this host?)"));
  }
}

MetricsEndpoint::~MetricsEndpoint() {
  for (const auto& collectable : collectables_) exposer_.RemoveCollectable(collectable);
}

void MetricsEndpoint::Add(const std::shared_ptr<prometheus::Collectable>& collectable) {
  exposer_.RegisterCollectable(collectable);
  collectables_.push_back(collectable);
}

}  // namespace kvasir
