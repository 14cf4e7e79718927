#ifndef KVASIR_SERVICES_CLI_RETRIES_H_
#define KVASIR_SERVICES_CLI_RETRIES_H_

#include <grpcpp/support/status.h>

#include <chrono>
#include <functional>
#include <optional>
#include <random>
#include <string>

namespace kvasir::cli {

// Whether a call that ended so may succeed when it is made again: the server was not reached or the
// way to it broke (also UNKNOWN, which gRPC makes of a stream that a proxy ends without a status,
// and our services never send), it cannot serve yet (UNAVAILABLE, for whatever reason), another
// replica took the session over (LEASE_LOST), or it gave the call up itself (CANCELLED, which for
// Ctrl-C means nothing here: Retries knows). Whether it is SAFE to make the call again is the
// caller's to know.
bool IsTransient(const grpc::Status& status);

// How long a server that does not answer is waited for. An outage begins with a failed call and
// ends with Progress(), or when it is given up; within one, waits grow exponentially from 100 ms to
// 2 s, each shortened at random by up to a half, and none is shorter than the server's RetryInfo
// asks for. Calls are made one after the other: not thread-safe.
class Retries {
 public:
  using Clock = std::chrono::steady_clock;

  // How time passes.
  struct Waiting {
    std::function<Clock::time_point()> now;
    // Returns early once Ctrl-C has come.
    std::function<void(Clock::duration)> sleep;
    // A line for the user: at most one an outage, and none where it is over within a second.
    std::function<void(const std::string&)> tell;
  };

  // `budget`: of an outage; 0: nothing is tried again.
  Retries(Clock::duration budget, Waiting waiting);

  // Waits, and says whether to try again what ended with `failure`. If not, `failure` says why:
  // CANCELLED for Ctrl-C, else its own code, its message after what the budget was. REQUIRES:
  // IsTransient(failure), or the caller knows better.
  bool Again(grpc::Status& failure);

  // The server has done something for us.
  void Progress() { outage_.reset(); }

  // While it lives, nothing is tried again.
  class Off {
   public:
    explicit Off(Retries& retries) : retries_(retries) { ++retries_.off_; }
    ~Off() { --retries_.off_; }
    Off(const Off&) = delete;
    Off& operator=(const Off&) = delete;

   private:
    Retries& retries_;
  };

 private:
  struct Outage {
    Clock::time_point begin;
    Clock::duration next_wait;
    bool told = false;
  };

  // Until the next try, of an outage with so much left. Nothing: it would be too late.
  std::optional<Clock::duration> NextWait(const grpc::Status& failure, Clock::duration left);
  void Tell(const grpc::Status& failure, Clock::duration left);

  const Clock::duration budget_;
  const Waiting waiting_;
  std::optional<Outage> outage_;
  int off_ = 0;
  std::minstd_rand random_{std::random_device()()};
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_RETRIES_H_
