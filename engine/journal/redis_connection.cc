#include "engine/journal/redis_connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/error.h"
#include "engine/journal/redis_reply.h"

namespace kvasir {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kFirstBackoff{50}, kLongestBackoff{1000};
constexpr milliseconds kShortestWait{10};

// What is left until `deadline`, but no more than `most`.
milliseconds Wait(steady_clock::time_point deadline, milliseconds most) {
  const auto left = std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now());
  return std::clamp(left, kShortestWait, most);
}

timeval ToTimeval(milliseconds wait) {
  return {.tv_sec = wait.count() / 1000, .tv_usec = wait.count() % 1000 * 1000};
}

void AppendWord(std::string_view word, std::string* request) {
  absl::StrAppend(request, "$", word.size(), "\r\n");
  request->append(word).append("\r\n");
}

// In Redis' protocol: an array of strings.
void AppendCommand(std::span<const std::string> words, std::string* request) {
  absl::StrAppend(request, "*", words.size(), "\r\n");
  for (const std::string& word : words) AppendWord(word, request);
}

// `digest`: of the script.
void AppendScriptCall(const RedisCall& call, const std::string& digest, bool again,
                      std::string* request) {
  absl::StrAppend(request, "*", call.words.size() + 4, "\r\n");
  AppendWord("EVALSHA", request);
  AppendWord(digest, request);
  AppendWord("0", request);  // they name their keys themselves
  for (const std::string& word : call.words) AppendWord(word, request);
  AppendWord(again ? "1" : "0", request);
}

// What ends by itself, or by a new connection.
bool IsPassing(const redisReply& reply) {
  const std::string_view text = Text(reply);
  return IsError(reply) && (text.starts_with("LOADING") || text.starts_with("NOSCRIPT"));
}

}  // namespace

RedisConnection::RedisConnection(RedisUrl url, std::vector<std::string> scripts)
    : url_(std::move(url)), scripts_(std::move(scripts)), jitter_(std::random_device()()) {}

absl::Status RedisConnection::Failure(std::string_view what) const {
  return MakeError(Reason::kStore,
                   absl::StrCat("session store ", url_.WithoutPassword(), ": ", std::string(what)));
}

absl::StatusOr<std::vector<RedisReply>> RedisConnection::Run(std::span<const RedisCall> calls) {
  const Deadline deadline = steady_clock::now() + (is_down_ ? kPatienceWhenDown : kPatience);
  bool was_sent = false;
  for (int attempt = 0;; ++attempt) {
    std::vector<RedisReply> replies;
    Outcome outcome = context_ != nullptr ? Outcome::kDone : Connect(deadline);
    if (outcome == Outcome::kDone) {
      outcome = Attempt(calls, was_sent, deadline, &replies);
      was_sent = true;
    }
    if (outcome == Outcome::kDone) {
      is_down_ = false;
      return replies;
    }
    context_ = nullptr;
    if (is_down_ || outcome == Outcome::kRefused || steady_clock::now() >= deadline) {
      is_down_ = true;
      return Failure(last_error_);
    }
    Backoff(attempt, deadline);
  }
}

void RedisConnection::Backoff(int attempt, Deadline deadline) {
  const milliseconds most = std::min(kLongestBackoff, kFirstBackoff * (1 << std::min(attempt, 10)));
  const double share = std::uniform_real_distribution<double>(0.5, 1.0)(jitter_);
  std::this_thread::sleep_for(
      Wait(deadline, std::chrono::duration_cast<milliseconds>(most * share)));
}

RedisConnection::Outcome RedisConnection::Connect(Deadline deadline) {
  context_.reset(redisConnectWithTimeout(url_.host.c_str(), url_.port,
                                         ToTimeval(Wait(deadline, kConnectTimeout))));
  if (context_ == nullptr || context_->err != 0) {
    last_error_ = context_ == nullptr ? "out of memory" : context_->errstr;
    return Outcome::kTryAgain;
  }
  std::vector<std::vector<std::string>> commands;
  if (!url_.password.empty()) {
    commands.push_back({"AUTH", url_.password});
    if (!url_.user.empty()) commands[0].insert(commands[0].begin() + 1, url_.user);
  }
  commands.push_back({"SELECT", absl::StrCat(url_.database)});
  const size_t first_script = commands.size();
  for (const std::string& script : scripts_) commands.push_back({"SCRIPT", "LOAD", script});

  std::string request;
  for (const auto& command : commands) AppendCommand(command, &request);
  std::vector<RedisReply> replies;
  if (!Exchange(request, commands.size(), deadline, &replies)) return Outcome::kTryAgain;
  digests_.clear();
  for (size_t i = 0; i < replies.size(); ++i) {
    const redisReply& reply = *replies[i];
    if (IsError(reply)) {
      last_error_ = absl::StrCat(commands[i][0], ": ", reply.str);
      return IsPassing(reply) ? Outcome::kTryAgain : Outcome::kRefused;
    }
    if (i >= first_script) digests_.emplace_back(reply.str, reply.len);
  }
  return Outcome::kDone;
}

RedisConnection::Outcome RedisConnection::Attempt(std::span<const RedisCall> calls, bool again,
                                                  Deadline deadline,
                                                  std::vector<RedisReply>* replies) {
  std::string request;
  for (const RedisCall& call : calls) {
    if (call.script < 0) {
      AppendCommand(call.words, &request);
    } else {
      AppendScriptCall(call, digests_[call.script], again, &request);
    }
  }
  if (!Exchange(request, calls.size(), deadline, replies)) return Outcome::kTryAgain;
  for (const RedisReply& reply : *replies) {
    if (!IsPassing(*reply)) continue;
    last_error_ = std::string(reply->str, reply->len);
    return Outcome::kTryAgain;
  }
  return Outcome::kDone;
}

bool RedisConnection::Exchange(const std::string& request, size_t count, Deadline deadline,
                               std::vector<RedisReply>* replies) {
  const milliseconds wait = Wait(deadline, kAnswerTimeout);
  redisSetTimeout(context_.get(), ToTimeval(wait));
  if (!Send(request)) return false;
  while (replies->size() < count) {
    void* reply = nullptr;
    errno = 0;
    if (redisGetReply(context_.get(), &reply) != REDIS_OK) {
      const bool hangs = context_->err == REDIS_ERR_IO && errno == EAGAIN;
      last_error_ =
          hangs ? absl::StrCat("no answer within ", wait.count(), " ms") : context_->errstr;
      return false;
    }
    replies->emplace_back(static_cast<redisReply*>(reply));
  }
  return true;
}

// Not by hiredis: it would raise SIGPIPE where the server is gone.
bool RedisConnection::Send(const std::string& request) {
  for (size_t sent = 0; sent < request.size();) {
    const ssize_t some =
        send(context_->fd, request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
    if (some > 0) {
      sent += some;
    } else if (errno != EINTR) {
      last_error_ = errno == EAGAIN ? "it takes no more requests" : std::strerror(errno);
      return false;
    }
  }
  return true;
}

}  // namespace kvasir
