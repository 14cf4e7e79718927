#ifndef KVASIR_TESTS_SERVICES_CRASH_FLEET_H_
#define KVASIR_TESTS_SERVICES_CRASH_FLEET_H_

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/engine/journal/redis_server.h"
#include "tests/engine/temporary_directory.h"
#include "tests/services/model_server.h"
#include "tests/services/program.h"

namespace kvasir::testing {

// Replicas of kvasir-model over one Redis, behind HAProxy as deploy/haproxy/haproxy.cfg has it. All
// of them die with the object, and with the thread that made it.
class Fleet {
 public:
  explicit Fleet(int replicas);

  int size() const { return static_cast<int>(replicas_.size()); }
  // A client with a connection of its own, to the proxy; or to one replica.
  std::unique_ptr<v1::ModelService::Stub> NewStub() const;
  std::unique_ptr<v1::ModelService::Stub> NewStubOf(int replica) const;

  void Terminate(int replica);  // SIGTERM; returns when it has ended
  void Kill(int replica);       // SIGKILL
  void Restart(int replica);    // on the same port; returns when the proxy knows it is up

  // As an operator tells the proxy: `state` is "drain" or "ready".
  void SetState(int replica, const std::string& state);
  // Breaks every stream to a replica that lives.
  void BreakStreams(int replica);
  // Waits until the proxy reports the replica's status to begin so: "UP", "DOWN", "DRAIN".
  void AwaitStatus(int replica, const std::string& status);

  // The value of a replica's metric.
  double Metric(int replica, const std::string& name) const;
  // The sessions that it has in its cache.
  std::set<std::string> CachedSessions(int replica) const;

 private:
  struct Replica {
    std::unique_ptr<Program> program;
    std::string address, metrics;
  };

  void Start(int replica, const std::string& listen);
  std::string Ask(const std::string& command) const;  // of HAProxy's socket
  std::string proxy_address() const;

  RedisServer redis_;
  const TemporaryDirectory directory_;
  std::vector<Replica> replicas_;
  std::unique_ptr<Program> proxy_;
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_CRASH_FLEET_H_
