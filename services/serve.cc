#include "services/serve.h"

#include <cstdio>
#include <string>
#include <utility>

#include "services/server.h"

namespace kvasir {

int Serve(const ServiceCommand& command, const AccessFlags& access, const Served& served,
          StopSignals& signals) {
  access.Log();
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(
      {command.listen(), served.service_name, served.max_message_bytes, access.credentials()},
      served.service);
  if (!server.ok()) return command.Fail(std::string(server.status().message()));

  if (served.endpoint != nullptr) served.endpoint->Serve(served.operations);
  signals.Arm();  // whoever reads the next line may send one
  std::printf("listening on %s\n", (*server)->address().c_str());
  std::fflush(stdout);
  ServeUntilStopped(**server, served.calls, signals, [&served] {
    if (served.endpoint != nullptr) served.endpoint->Drain();
  });
  if (served.endpoint != nullptr) served.endpoint->StopServing();
  return 0;
}

}  // namespace kvasir
