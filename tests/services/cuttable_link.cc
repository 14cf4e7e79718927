#include "tests/services/cuttable_link.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

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

int NewSocket() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  KVASIR_CHECK(fd >= 0);
  return fd;
}

// Closes with a reset instead of a farewell.
void Reset(int fd) {
  const linger now = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close(fd);
}

// Whether the connection goes on.
bool Forward(int from, int to) {
  char buffer[65536];
  const ssize_t got = read(from, buffer, sizeof buffer);
  for (ssize_t sent = 0; sent < got;) {
    const ssize_t n = send(to, buffer + sent, static_cast<size_t>(got - sent), MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += n;
  }
  return got > 0;
}

}  // namespace

CuttableLink::CuttableLink(const std::string& server_address) : listener_(NewSocket()) {
  KVASIR_CHECK(pipe2(cut_, O_CLOEXEC) == 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof address;
  KVASIR_CHECK(bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
  KVASIR_CHECK(listen(listener_, 1) == 0);
  KVASIR_CHECK(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  const int server_port = std::stoi(server_address.substr(server_address.rfind(':') + 1));
  thread_ = std::thread([this, server_port] { Carry(server_port); });
}

CuttableLink::~CuttableLink() {
  Cut();
  thread_.join();
  close(cut_[0]);
  close(cut_[1]);
}

void CuttableLink::Cut() { KVASIR_CHECK(write(cut_[1], "", 1) == 1); }

void CuttableLink::Carry(int server_port) {
  pollfd waiting[] = {{cut_[0], POLLIN, 0}, {listener_, POLLIN, 0}};
  poll(waiting, 2, -1);
  const bool cut_before = waiting[0].revents != 0;
  const int client = cut_before ? -1 : accept(listener_, nullptr, nullptr);
  close(listener_);
  if (client < 0) return;
  const int server = NewSocket();
  const sockaddr_in address = Loopback(server_port);
  bool open = connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  const int on = 1;
  for (int fd : {client, server}) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  while (open) {
    pollfd ready[] = {{cut_[0], POLLIN, 0}, {client, POLLIN, 0}, {server, POLLIN, 0}};
    poll(ready, 3, -1);
    if (ready[0].revents != 0) break;
    if (ready[1].revents != 0) open = Forward(client, server);
    if (open && ready[2].revents != 0) open = Forward(server, client);
  }
  Reset(client);
  Reset(server);
}

}  // namespace kvasir::testing
