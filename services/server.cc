#include "services/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kvasir {
namespace {

constexpr absl::Duration kDrainLimit = absl::Seconds(30);
// For what the last call left to be flushed, and for health watchers, which never end by
// themselves.
constexpr absl::Duration kFlushTime = absl::Milliseconds(200);
// A client whose machine is gone is noticed after about this long.
constexpr int kKeepaliveMilliseconds = 60'000;
// Who has a connection and no call on it can open another one.
constexpr int kIdleMilliseconds = 600'000;
// In which a new connection must have come to HTTP/2, TLS and all.
constexpr int kHandshakeMilliseconds = 10'000;
// Of one call's headers; a key is in them, and a trace.
constexpr int kMaxMetadataBytes = 16 << 10;
// Of one connection; a proxy's carries many clients' calls.
constexpr int kMaxStreams = 1000;
// What the buffers of all connections may take: beyond, gRPC reads no faster than calls are done.
constexpr size_t kBufferedBytes = 256 << 20;
// A client may make sure of us as often as this, also while a long prompt keeps its call silent.
constexpr int kClientKeepaliveMilliseconds = 10'000;

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Options& options,
                                                      grpc::Service& service) {
  // Both are read when a server is built, and are the same for every server of ours.
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();

  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options.listen, options.credentials, &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a taken port is an error
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kClientKeepaliveMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kIdleMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreams);
  grpc::ResourceQuota buffers;
  buffers.Resize(kBufferedBytes);
  builder.SetResourceQuota(buffers);
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  builder.SetMaxSendMessageSize(options.max_message_bytes);
  builder.RegisterService(&service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat("--listen: cannot listen on ", options.listen,
                                               " (taken, or no address of this host?)"));
  }
  server->GetHealthCheckService()->SetServingStatus(options.service_name, true);
  const std::string host = options.listen.substr(0, options.listen.rfind(':') + 1);
  std::string address = absl::StrCat(host, port);
  return std::unique_ptr<Server>(new Server(std::move(server), std::move(address)));
}

void Server::ReportDraining() { server_->GetHealthCheckService()->SetServingStatus(false); }

void Server::Shutdown(absl::Duration grace) {
  server_->Shutdown(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(grace));
  server_->Wait();
}

void ServeUntilStopped(Server& server, RunningCalls& calls, StopSignals& signals,
                       const std::function<void()>& draining) {
  signals.Wait(absl::InfiniteDuration());
  spdlog::info("stopping: running calls may finish within {}; a second signal stops at once",
               absl::FormatDuration(kDrainLimit));
  draining();
  server.ReportDraining();
  calls.Drain([&signals] { signals.Notify(); });
  switch (signals.Wait(kDrainLimit)) {
    case StopSignals::Event::kNotified:
      server.Shutdown(kFlushTime);
      break;
    case StopSignals::Event::kSignal:
    case StopSignals::Event::kTimeout:
      spdlog::warn("stopping: calls that still run are cut off");
      server.Shutdown(absl::ZeroDuration());
      break;
  }
  spdlog::info("stopped");
}

}  // namespace kvasir
