#ifndef KVASIR_ENGINE_JOURNAL_REDIS_CONNECTION_H_
#define KVASIR_ENGINE_JOURNAL_REDIS_CONNECTION_H_

#include <hiredis/hiredis.h>

#include <chrono>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/journal/redis_url.h"

namespace kvasir {

struct RedisReplyDeleter {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using RedisReply = std::unique_ptr<redisReply, RedisReplyDeleter>;

// One command, or one call of a script.
struct RedisCall {
  int script = -1;                 // index of it; -1: `words` is a plain command
  std::vector<std::string> words;  // of a script: its arguments
};

// A connection that comes back: what was asked when it broke is asked again.
class RedisConnection {
 public:
  // So long one Run goes on trying, and so long it waits for a connection and for an answer.
  static constexpr std::chrono::milliseconds kPatience{3000};
  // Where the Run before has given up: one attempt. Who waits in a queue would wait for the sum.
  static constexpr std::chrono::milliseconds kPatienceWhenDown{500};
  static constexpr std::chrono::milliseconds kConnectTimeout{1000};
  static constexpr std::chrono::milliseconds kAnswerTimeout{1500};

  // `scripts` are loaded with every new connection.
  RedisConnection(RedisUrl url, std::vector<std::string> scripts);

  // Sends all calls in one go and returns what each is answered, errors too. Where the connection
  // breaks or hangs, where Redis is still loading its data, and where it has forgotten the
  // scripts, ALL calls are sent again on a new connection: calls must be such that the second
  // time does no harm. Of those an earlier sending may still be executed, at any time. Behind
  // its arguments a script finds one more: "1" when it is sent again, else "0".
  // UNAVAILABLE (STORE) when patience ends, or at once where password or database are refused.
  absl::StatusOr<std::vector<RedisReply>> Run(std::span<const RedisCall> calls);

  // UNAVAILABLE (STORE), naming the server and `what` went wrong.
  absl::Status Failure(std::string_view what) const;

 private:
  using Deadline = std::chrono::steady_clock::time_point;
  struct ContextDeleter {
    void operator()(redisContext* context) const { redisFree(context); }
  };
  enum class Outcome { kDone, kTryAgain, kRefused };

  // Each says in last_error_ what went wrong.
  Outcome Connect(Deadline deadline);
  Outcome Attempt(std::span<const RedisCall> calls, bool again, Deadline deadline,
                  std::vector<RedisReply>* replies);
  bool Exchange(const std::string& request, size_t count, Deadline deadline,
                std::vector<RedisReply>* replies);
  bool Send(const std::string& request);
  void Backoff(int attempt, Deadline deadline);

  const RedisUrl url_;
  const std::vector<std::string> scripts_;
  std::vector<std::string> digests_;  // of scripts_, by which Redis knows them
  std::unique_ptr<redisContext, ContextDeleter> context_;
  bool is_down_ = false;  // the last Run gave up
  std::string last_error_;
  std::minstd_rand jitter_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_JOURNAL_REDIS_CONNECTION_H_
