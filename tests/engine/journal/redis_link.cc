#include "tests/engine/journal/redis_link.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string_view>
#include <utility>

#include "engine/check.h"

namespace kvasir::testing {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

bool SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(sent);
  }
  return true;
}

// Empty at the end.
std::string Receive(int fd) {
  std::array<char, 65536> buffer;
  const ssize_t size = recv(fd, buffer.data(), buffer.size(), 0);
  return {buffer.data(), size > 0 ? static_cast<size_t>(size) : 0};
}

}  // namespace

RedisLink::RedisLink(int server_port) : server_port_(server_port) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  KVASIR_CHECK(bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
  KVASIR_CHECK(listen(listener_, 16) == 0);
  KVASIR_CHECK(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port_ = ntohs(address.sin_port);
  KVASIR_CHECK(pipe2(stop_, O_CLOEXEC) == 0);  // a server started later must not hold it
  thread_ = std::thread([this] { Serve(); });
}

RedisLink::~RedisLink() {
  Open();
  close(stop_[1]);
  thread_.join();
  close(stop_[0]);
  close(listener_);
  if (held_server_ >= 0) close(held_server_);
}

std::string RedisLink::url() const { return "redis://127.0.0.1:" + std::to_string(port_) + "/0"; }

void RedisLink::LoseNextReply() { trouble_ = Trouble::kLoseReply; }

void RedisLink::LoseNextReplyAndShut() { trouble_ = Trouble::kLoseReplyAndShut; }

void RedisLink::AwaitShut() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return is_shut_; });
}

void RedisLink::Open() {
  const std::lock_guard lock(mutex_);
  is_shut_ = false;
  changed_.notify_all();
}

void RedisLink::HoldNextRequest() { trouble_ = Trouble::kHoldRequest; }

void RedisLink::DeliverHeld() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return held_server_ >= 0; });
  KVASIR_CHECK(SendAll(held_server_, held_request_));
  KVASIR_CHECK(!Receive(held_server_).empty());
  close(held_server_);
  held_server_ = -1;
}

void RedisLink::Serve() {
  for (;;) {
    std::array<pollfd, 2> ready = {pollfd{stop_[0], POLLIN, 0}, pollfd{listener_, POLLIN, 0}};
    if (poll(ready.data(), ready.size(), -1) < 0) continue;
    if (ready[0].revents != 0) return;
    const int client = accept(listener_, nullptr, nullptr);
    if (client < 0) continue;
    ++connections_;
    Carry(client);
    close(client);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !is_shut_; });
  }
}

void RedisLink::Carry(int client) {
  const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = Loopback(server_port_);
  asked_ = false;
  bool goes_on = connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  while (goes_on) {
    std::array<pollfd, 3> ready = {pollfd{stop_[0], POLLIN, 0}, pollfd{client, POLLIN, 0},
                                   pollfd{server, POLLIN, 0}};
    if (poll(ready.data(), ready.size(), -1) < 0) continue;
    goes_on = ready[0].revents == 0;
    if (goes_on && ready[1].revents != 0) goes_on = CarryRequest(client, server);
    if (goes_on && ready[2].revents != 0) goes_on = CarryReply(client, server);
  }
  const std::lock_guard lock(mutex_);
  if (server != held_server_) close(server);
}

bool RedisLink::CarryRequest(int client, int server) {
  std::string request = Receive(client);
  if (request.empty()) return false;
  if (trouble_ == Trouble::kHoldRequest) {
    trouble_ = Trouble::kNone;
    const std::lock_guard lock(mutex_);
    held_request_ = std::move(request);
    held_server_ = server;
    changed_.notify_all();
    return false;
  }
  if (!asked_) ++round_trips_;
  asked_ = true;
  return SendAll(server, request);
}

bool RedisLink::CarryReply(int client, int server) {
  const std::string reply = Receive(server);
  if (reply.empty()) return false;
  asked_ = false;
  if (trouble_ == Trouble::kLoseReply) {
    trouble_ = Trouble::kNone;
    return false;
  }
  if (trouble_ == Trouble::kLoseReplyAndShut) {
    trouble_ = Trouble::kNone;
    const std::lock_guard lock(mutex_);
    is_shut_ = true;
    changed_.notify_all();
    return false;
  }
  return SendAll(client, reply);
}

}  // namespace kvasir::testing
