#include "tests/services/raw_call.h"

#include <arpa/inet.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>

namespace kvasir::testing {
namespace {

std::string ToString(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

}  // namespace

std::string RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                    const std::string& request) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  grpc::CompletionQueue queue;
  const grpc::Slice slice(request);
  const grpc::ByteBuffer sent(&slice, 1);
  const auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  const auto call = stub.PrepareCall(&context, method, &queue);
  call->StartCall(nullptr);
  bool ok = next();
  call->Write(sent, nullptr);
  ok = next() && ok;
  grpc::ByteBuffer received;
  call->Read(&received, nullptr);
  EXPECT_TRUE(next() && ok) << method << " gives no answer";
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  next();
  queue.Shutdown();
  while (next()) {
  }
  return ToString(received);
}

Health CheckHealth(const std::shared_ptr<grpc::Channel>& channel) {
  // An empty request is about the whole server; the answer is one enum in field 1.
  const std::string response = RawCall(channel, "/grpc.health.v1.Health/Check", "");
  if (response.size() != 2 || response[0] != 0x08) return Health::kUnknown;
  return static_cast<Health>(response[1]);
}

Connection::Connection(const std::string& address) {
  const size_t colon = address.rfind(':');
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0) << address;
}

Connection::~Connection() {
  if (fd_ >= 0) close(fd_);
}

std::string Connection::Ask(const std::string& request) {
  EXPECT_EQ(send(fd_, request.data(), request.size(), MSG_NOSIGNAL), ssize_t(request.size()));
  std::string response;
  char buffer[4096];
  for (ssize_t got; (got = read(fd_, buffer, sizeof buffer)) > 0;) {
    response.append(buffer, static_cast<size_t>(got));
  }
  return response;
}

std::string HttpGet(const std::string& address, const std::string& path) {
  return Connection(address).Ask("GET " + path + " HTTP/1.0\r\n\r\n");
}

std::string Scrape(const std::string& address) {
  const std::string response = HttpGet(address, "/metrics");
  const size_t body = response.find("\r\n\r\n");
  EXPECT_NE(body, std::string::npos) << "no metrics on " << address;
  return body == std::string::npos ? "" : response.substr(body + 4);
}

}  // namespace kvasir::testing
