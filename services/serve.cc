#include "services/serve.h"

#include <cstdio>
#include <string>
#include <utility>

#include "services/metrics.h"
#include "services/server.h"

namespace kvasir {

int Serve(const ServiceCommand& command, const Served& served, StopSignals& signals) {
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(
      {command.listen(), served.service_name, served.max_message_bytes}, served.service);
  if (!server.ok()) return command.Fail(std::string(server.status().message()));

  std::unique_ptr<MetricsEndpoint> endpoint;
  if (!command.metrics().empty()) {
    absl::StatusOr<std::unique_ptr<MetricsEndpoint>> started =
        MetricsEndpoint::Start(command.metrics());
    if (!started.ok()) return command.Fail(std::string(started.status().message()));
    endpoint = *std::move(started);
    for (const auto& metrics : served.metrics) endpoint->Add(metrics);
    std::printf("metrics on %s\n", endpoint->address().c_str());
  }

  signals.Arm();  // whoever reads the next line may send one
  std::printf("listening on %s\n", (*server)->address().c_str());
  std::fflush(stdout);
  ServeUntilStopped(**server, served.calls, signals);
  return 0;
}

}  // namespace kvasir
