#include "services/metrics_endpoint.h"

#include <CivetServer.h>
#include <prometheus/text_serializer.h>

#include <exception>
#include <iterator>
#include <mutex>
#include <optional>
#include <shared_mutex>

#include "absl/strings/str_cat.h"

namespace kvasir {
namespace {

// A probe must not wait for someone who reads slowly.
constexpr char kThreads[] = "8";
constexpr char kTimeoutMilliseconds[] = "5000";
constexpr char kText[] = "text/plain; charset=utf-8";
constexpr char kPrometheusText[] = "text/plain; version=0.0.4; charset=utf-8";

struct Answer {
  int status = 200;
  std::string body;
  const char* type = kText;
};

// Answers GET for one path.
class Handler final : public CivetHandler {
 public:
  explicit Handler(std::function<Answer()> ask) : ask_(std::move(ask)) {}
  bool handleGet(CivetServer*, mg_connection* connection) override {
    const Answer answer = ask_();
    const std::string head =
        absl::StrCat("HTTP/1.1 ", answer.status == 200 ? "200 OK" : "503 Service Unavailable",
                     "\r\nContent-Type: ", answer.type, "\r\nContent-Length: ", answer.body.size(),
                     "\r\nCache-Control: no-store\r\n\r\n");
    mg_write(connection, head.data(), head.size());
    mg_write(connection, answer.body.data(), answer.body.size());
    return true;
  }

 private:
  const std::function<Answer()> ask_;
};

Answer Said(const absl::Status& status) {
  if (status.ok()) return {200, "ok\n"};
  return {503, absl::StrCat(std::string(status.message()), "\n")};
}

}  // namespace

class MetricsEndpoint::Server {
 public:
  // The library throws where it cannot listen.
  Server(const std::string& address, MetricsEndpoint::Metrics metrics)
      : service_{.metrics = std::move(metrics), .healthy = nullptr, .ready = nullptr},
        http_({"listening_ports", address, "num_threads", kThreads, "request_timeout_ms",
               kTimeoutMilliseconds}) {
    http_.addHandler("/metrics$", &metrics_);
    http_.addHandler("/healthz$", &health_);
    http_.addHandler("/readyz$", &ready_);
  }

  std::optional<int> port() {
    const std::vector<int> ports = http_.getListeningPorts();
    return ports.empty() ? std::nullopt : std::optional(ports.front());
  }

  void Set(Service service) {
    const std::unique_lock lock(mutex_);
    service_ = std::move(service);
    state_ = absl::OkStatus();
  }
  void Stop() {
    const std::unique_lock lock(mutex_);
    if (last_) return;
    last_ = Text();
    service_ = {};
    state_ = absl::UnavailableError("stopped");
  }
  void SetState(absl::Status state) {
    const std::unique_lock lock(mutex_);
    state_ = std::move(state);
  }

 private:
  Answer CollectMetrics() {
    const std::shared_lock lock(mutex_);
    return {200, last_ ? *last_ : Text(), kPrometheusText};
  }
  // REQUIRES: mutex_ is held.
  std::string Text() const {
    std::vector<prometheus::MetricFamily> families;
    for (const auto& collectable : service_.metrics) {
      std::vector<prometheus::MetricFamily> more = collectable->Collect();
      families.insert(families.end(), std::make_move_iterator(more.begin()),
                      std::make_move_iterator(more.end()));
    }
    return prometheus::TextSerializer().Serialize(families);
  }
  Answer Health() {
    const std::shared_lock lock(mutex_);
    return Said(service_.healthy ? service_.healthy() : absl::OkStatus());
  }
  Answer Ready() {
    const std::shared_lock lock(mutex_);
    if (!state_.ok()) return Said(state_);
    return Said(service_.ready ? service_.ready() : absl::OkStatus());
  }

  std::shared_mutex mutex_;
  // guarded by mutex_
  Service service_;
  std::optional<std::string> last_;  // once it has stopped: the metrics
  absl::Status state_ = absl::UnavailableError("loading");

  Handler metrics_{[this] { return CollectMetrics(); }};
  Handler health_{[this] { return Health(); }};
  Handler ready_{[this] { return Ready(); }};
  CivetServer http_;  // last: its threads use all else
};

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(const std::string& address,
                                                                        Metrics metrics) {
  // Where they stay: see the destructor's contract.
  static auto* const until_exit = new std::vector<std::unique_ptr<Server>>;
  const absl::Status failed = absl::UnavailableError(absl::StrCat(
      "--metrics: cannot listen on ", address, " (taken, or no IP address of this host?)"));
  try {  // the library throws
    auto server = std::make_unique<Server>(address, std::move(metrics));
    const std::optional<int> port = server->port();
    if (!port) return failed;
    const std::string host = address.substr(0, address.rfind(':') + 1);
    return std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(
        *until_exit->emplace_back(std::move(server)), absl::StrCat(host, *port)));
  } catch (const std::exception&) {  // its what() is "null context when constructing CivetServer"
    return failed;
  }
}

MetricsEndpoint::~MetricsEndpoint() { StopServing(); }

void MetricsEndpoint::Serve(Service service) { server_.Set(std::move(service)); }

void MetricsEndpoint::Drain() { server_.SetState(absl::UnavailableError("draining")); }

void MetricsEndpoint::StopServing() { server_.Stop(); }

}  // namespace kvasir
