#ifndef KVASIR_TESTS_ENGINE_JOURNAL_REDIS_LINK_H_
#define KVASIR_TESTS_ENGINE_JOURNAL_REDIS_LINK_H_

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace kvasir::testing {

// A way to a Redis on this host that loses what it is told to. Carries one connection at a time.
// All methods may be called from any thread.
class RedisLink {
 public:
  explicit RedisLink(int server_port);
  ~RedisLink();
  RedisLink(const RedisLink&) = delete;
  RedisLink& operator=(const RedisLink&) = delete;

  std::string url() const;

  // The next request reaches Redis; the connection is cut when the reply comes.
  void LoseNextReply();
  // The same, and nothing goes through until Open(). AwaitShut: until the reply has come.
  void LoseNextReplyAndShut();
  void AwaitShut();
  void Open();
  // The next request stays on its way, and the client's connection is cut.
  void HoldNextRequest();
  // It arrives after all, and Redis has answered it when this returns.  REQUIRES: one is held.
  void DeliverHeld();

  // How often the client has sent something since it last got a reply.
  int round_trips() const { return round_trips_; }
  // How often the client has come.
  int connections() const { return connections_; }

 private:
  enum class Trouble { kNone, kLoseReply, kLoseReplyAndShut, kHoldRequest };

  void Serve();
  void Carry(int client);
  // Whether the connection goes on.
  bool CarryRequest(int client, int server);
  bool CarryReply(int client, int server);

  const int server_port_;
  int listener_ = -1, port_ = 0;
  int stop_[2] = {-1, -1};  // a pipe: readable when this object ends
  std::atomic<Trouble> trouble_ = Trouble::kNone;
  std::atomic<int> round_trips_ = 0, connections_ = 0;
  bool asked_ = false;  // the last that went through was a request
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_shut_ = false;
  int held_server_ = -1;
  std::string held_request_;
  std::thread thread_;
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_JOURNAL_REDIS_LINK_H_
