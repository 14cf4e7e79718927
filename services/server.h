#ifndef KVASIR_SERVICES_SERVER_H_
#define KVASIR_SERVICES_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/running_calls.h"
#include "services/stop_signals.h"

namespace kvasir {

// A gRPC server with one of our services, health checking (grpc.health.v1) and reflection.
class Server {
 public:
  struct Options {
    std::string listen;         // HOST:PORT; port 0: any that is free
    std::string service_name;   // that health checks may ask for, beside the server as a whole
    int max_message_bytes = 0;  // both ways
    std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  };

  // UNAVAILABLE naming the address where it cannot listen.
  // REQUIRES: `listen` is of the form HOST:PORT; `service` outlives the server.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Options& options,
                                                       grpc::Service& service);

  // With the port that was bound.
  const std::string& address() const { return address_; }

  // Health checks say NOT_SERVING from now on.
  void ReportDraining();
  // Returns when every call has ended; those that have not within `grace` are cancelled.
  void Shutdown(absl::Duration grace);

 private:
  Server(std::unique_ptr<grpc::Server> server, std::string address)
      : server_(std::move(server)), address_(std::move(address)) {}

  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

// Serves until a signal comes, then stops gracefully: running calls finish, new ones are refused,
// for 30 s at most or until another signal. Then all is cut off. `draining` is called when the
// first signal has come.
void ServeUntilStopped(Server& server, RunningCalls& calls, StopSignals& signals,
                       const std::function<void()>& draining);

}  // namespace kvasir

#endif  // KVASIR_SERVICES_SERVER_H_
