#ifndef KVASIR_TESTS_ENGINE_JOURNAL_REDIS_SERVER_H_
#define KVASIR_TESTS_ENGINE_JOURNAL_REDIS_SERVER_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "tests/engine/temporary_directory.h"

namespace kvasir::testing {

// A Redis of its own on a free port of the loopback, with its data in a temporary directory;
// killed with the object. It syncs every write unless told otherwise.
class RedisServer {
 public:
  struct Options {
    std::string password;
    std::vector<std::string> arguments;  // more of redis-server's, e.g. "--maxmemory", "1mb"
  };

  // A failure, and no server behind port(), where redis-server is not installed or does not start.
  RedisServer() : RedisServer(Options()) {}
  explicit RedisServer(Options options);
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  int port() const { return port_; }
  // redis://[:PASSWORD@]127.0.0.1:PORT/DB
  std::string url(int database = 0) const;

  void Kill();  // at once, as when its machine dies
  // Again, on the same port and data.  REQUIRES: called by a thread that outlives the server: it
  // is killed with the thread, so that none survives a test that has crashed.
  void Start();
  void Pause();  // it hangs: its sockets stay open
  void Continue();

  // Runs one command on a connection of its own; an array is flattened to its lines. A failure
  // where Redis refuses it.
  std::string Run(const std::vector<std::string>& command);

 private:
  // Whether the process is the one that answers on its port.
  bool Spawn();
  bool Answers();

  const Options options_;
  const TemporaryDirectory directory_;
  int port_ = 0;
  pid_t pid_ = -1;
};

// A port of the loopback that nobody listens on.
int FreePort();

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_JOURNAL_REDIS_SERVER_H_
