#include "tests/engine/journal/redis_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>
#include <thread>

#include "gtest/gtest.h"

namespace kvasir::testing {
namespace {

constexpr char kProgram[] = "/usr/bin/redis-server";
constexpr int kAttempts = 5;  // to find a port that nobody takes meanwhile
constexpr auto kPatience = std::chrono::seconds(20);

using Context = std::unique_ptr<redisContext, decltype(&redisFree)>;

std::string Flatten(const redisReply& reply) {
  switch (reply.type) {
    case REDIS_REPLY_INTEGER:
      return std::to_string(reply.integer);
    case REDIS_REPLY_NIL:
      return "";
    case REDIS_REPLY_ARRAY: {
      std::string lines;
      for (size_t i = 0; i < reply.elements; ++i) {
        lines += (i == 0 ? "" : "\n") + Flatten(*reply.element[i]);
      }
      return lines;
    }
    default:
      return {reply.str, reply.len};
  }
}

// What Redis answers; nothing where there is none, or an error, which `error` (may be null) gets.
std::optional<std::string> Ask(redisContext* context, const std::vector<std::string>& command,
                               std::string* error) {
  std::vector<const char*> words;
  std::vector<size_t> lengths;
  for (const std::string& word : command) {
    words.push_back(word.data());
    lengths.push_back(word.size());
  }
  void* raw =
      redisCommandArgv(context, static_cast<int>(words.size()), words.data(), lengths.data());
  const std::unique_ptr<redisReply, decltype(&freeReplyObject)> reply(static_cast<redisReply*>(raw),
                                                                      &freeReplyObject);
  if (reply != nullptr && reply->type != REDIS_REPLY_ERROR) return Flatten(*reply);
  if (error != nullptr) *error = reply == nullptr ? context->errstr : reply->str;
  return std::nullopt;
}

}  // namespace

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  int port = 0;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    port = ntohs(address.sin_port);
  }
  close(fd);
  return port;
}

RedisServer::RedisServer(Options options) : options_(std::move(options)) {
  if (access(kProgram, X_OK) != 0) {
    ADD_FAILURE() << kProgram << " is missing: scripts/setup.sh installs it";
    return;
  }
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    port_ = FreePort();
    if (Spawn()) return;
  }
  ADD_FAILURE() << "redis-server does not start; its log is " << directory_.path() << "/log";
}

RedisServer::~RedisServer() { Kill(); }

std::string RedisServer::url(int database) const {
  const std::string credentials = options_.password.empty() ? "" : ":" + options_.password + "@";
  return "redis://" + credentials + "127.0.0.1:" + std::to_string(port_) + "/" +
         std::to_string(database);
}

bool RedisServer::Spawn() {
  std::vector<std::string> words = {kProgram,
                                    "--bind",
                                    "127.0.0.1",
                                    "--port",
                                    std::to_string(port_),
                                    "--dir",
                                    directory_.path().string(),
                                    "--logfile",
                                    directory_.path().string() + "/log",
                                    "--appendonly",
                                    "yes",
                                    "--appendfsync",
                                    "always",
                                    "--save",
                                    ""};
  if (!options_.password.empty()) {
    words.emplace_back("--requirepass");
    words.push_back(options_.password);
  }
  words.insert(words.end(), options_.arguments.begin(), options_.arguments.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    execv(kProgram, arguments.data());
    _exit(127);
  }
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < give_up) {
    if (Answers()) return true;
    if (waitpid(pid_, nullptr, WNOHANG) == pid_) {  // the port was taken
      pid_ = -1;
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  Kill();
  return false;
}

bool RedisServer::Answers() {
  const Context context(redisConnect("127.0.0.1", port_), &redisFree);
  if (context == nullptr || context->err != 0) return false;
  if (!options_.password.empty()) Ask(context.get(), {"AUTH", options_.password}, nullptr);
  // PING: not while it loads its data. The process: not somebody else's Redis.
  const auto info = Ask(context.get(), {"INFO", "server"}, nullptr);
  return Ask(context.get(), {"PING"}, nullptr).has_value() && info &&
         info->find("process_id:" + std::to_string(pid_) + "\r") != std::string::npos;
}

void RedisServer::Kill() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void RedisServer::Start() {
  if (!Spawn()) ADD_FAILURE() << "redis-server does not start again on port " << port_;
}

void RedisServer::Pause() { kill(pid_, SIGSTOP); }

void RedisServer::Continue() { kill(pid_, SIGCONT); }

std::string RedisServer::Run(const std::vector<std::string>& command) {
  const Context context(redisConnect("127.0.0.1", port_), &redisFree);
  std::string error = "no context";
  if (context != nullptr && context->err == 0) {
    if (!options_.password.empty()) Ask(context.get(), {"AUTH", options_.password}, &error);
    if (auto answer = Ask(context.get(), command, &error)) return *answer;
  }
  ADD_FAILURE() << command[0] << ": " << error;
  return "";
}

}  // namespace kvasir::testing
