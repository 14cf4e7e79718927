// kvasir-gateway: the OpenAI API over HTTP, for the tokenizer and model services behind it.
#include <spdlog/spdlog.h>

#include <cstdio>
#include <memory>
#include <string>

#include "services/access_flags.h"
#include "services/gateway/gateway.h"
#include "services/gateway/http_server.h"
#include "services/service_command.h"
#include "services/stop_signals.h"

namespace kvasir::gateway {
namespace {

constexpr char kExamples[] =
    "  kvasir-gateway\n"
    "      OpenAI clients find it at http://127.0.0.1:8080/v1\n"
    "  kvasir-gateway --model-server=model:50052 --tokenizer-server=tokenizer:50051\n"
    "      for services elsewhere\n"
    "  kvasir-gateway --listen=0.0.0.0:8080 --insecure\n"
    "      serves the network, behind a proxy that ends TLS";

constexpr absl::Duration kDrainLimit = absl::Seconds(30);

struct GatewayFlags {
  cli::ConnectionFlags connection;
  int max_connections = 512;
  uint64_t max_body = 16 << 20;
  int max_sessions = 1000;
  double session_ttl = 3600;
  bool insecure = false;

  void AddTo(ServiceCommand& command) {
    connection.AddTokenizerFlag(command.app());
    connection.AddModelServerFlag(command.app());
    command.AddFlag("--max-connections", max_connections, "Connections at the same time")
        ->check(CLI::Range(1, 100'000));
    command.AddSizeFlag("--max-body", max_body, "Bytes of a request");
    command
        .AddFlag("--max-sessions", max_sessions,
                 "Conversations whose sessions are kept for their next turn")
        ->check(CLI::Range(1, 10'000'000));
    command
        .AddFlag(
            "--session-ttl", session_ttl,
            "Seconds without use after which such a session expires, also where the gateway is "
            "gone")
        ->check(CLI::Range(1.0, 1e9));
    command.AddSwitch("--insecure", insecure,
                      "Serve the network, as plain text, to whoever the services answer; else "
                      "refused off loopback");
  }
};

void ServeUntilStopped(HttpServer& server, StopSignals& signals) {
  signals.Wait(absl::InfiniteDuration());
  spdlog::info("stopping: running requests may finish within {}; a second signal stops at once",
               absl::FormatDuration(kDrainLimit));
  server.Drain([&signals] { signals.Notify(); });
  if (signals.Wait(kDrainLimit) != StopSignals::Event::kNotified) {
    spdlog::warn("stopping: requests that still run are cut off");
  }
}

int Main(int argc, char** argv) {
  StopSignals signals;
  ServiceCommand command({.name = "kvasir-gateway",
                          .description = "The OpenAI API for Kvasir's services.",
                          .examples = kExamples,
                          .listen = "127.0.0.1:8080",
                          .metrics = "",
                          .use = std::nullopt,
                          .protocol = "HTTP"});
  GatewayFlags flags;
  flags.AddTo(command);
  if (const std::optional<int> code = command.Parse(argc, argv)) return *code;
  const bool loopback = IsLoopback(command.listen());
  if (!loopback && !flags.insecure) {
    return command.Fail("--listen=" + command.listen() +
                        " serves the network as plain text, to whoever the services answer: give "
                        "--insecure if that is meant");
  }
  KvasirServices services(flags.connection);
  SessionKeeper keeper(services, static_cast<size_t>(flags.max_sessions),
                       absl::Seconds(flags.session_ttl));
  Gateway gateway(services, keeper, loopback);
  absl::StatusOr<std::unique_ptr<HttpServer>> server =
      HttpServer::Start({.listen = command.listen(),
                         .max_connections = static_cast<unsigned>(flags.max_connections),
                         .max_body_bytes = flags.max_body},
                        Gateway::Refusals(flags.max_body),
                        [&gateway](const HttpRequest& request) { return gateway.Answer(request); });
  if (!server.ok()) return command.Fail(std::string(server.status().message()));
  signals.Arm();  // whoever reads the next line may send one
  std::printf("listening on %s\n", (*server)->address().c_str());
  std::fflush(stdout);
  ServeUntilStopped(**server, signals);
  server->reset();
  spdlog::info("stopped");
  return 0;
}

}  // namespace
}  // namespace kvasir::gateway

int main(int argc, char** argv) { return kvasir::gateway::Main(argc, argv); }
