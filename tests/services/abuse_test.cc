// Callers who mean no good, without a key: connections that say nothing, headers and messages that
// are too much, many at once. The others are served on, and what it costs is bounded.
#include <arpa/inet.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kvasir/v1/tokenizer.grpc.pb.h"
#include "tests/engine/temporary_directory.h"
#include "tests/services/program.h"
#include "tests/services/raw_call.h"

namespace kvasir {
namespace {

using kvasir::testing::Program;
using kvasir::testing::Scrape;
using Clock = std::chrono::steady_clock;

constexpr char kKey[] = "the-secret-of-anna";
constexpr size_t kMiB = 1 << 20;

std::unique_ptr<v1::TokenizerService::Stub> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxSendMessageSize(-1);
  return v1::TokenizerService::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

grpc::Status Encode(v1::TokenizerService::Stub& stub, const std::string& text,
                    const std::string& key, size_t padding = 0) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
  if (padding > 0) context.AddMetadata("padding", std::string(padding, 'x'));
  v1::EncodeRequest request;
  request.set_text(text);
  v1::EncodeResponse response;
  return stub.Encode(&context, request, &response);
}

// A TCP connection that has sent `bytes`.
int ConnectAndSend(const std::string& address, const std::string& bytes) {
  const size_t colon = address.rfind(':');
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  EXPECT_EQ(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  return fd;
}

// Reads until the other side closes; false where it has not by then.
bool ClosedBefore(int fd, Clock::time_point end) {
  char buffer[4096];
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    pollfd ready = {fd, POLLIN, 0};
    if (left.count() <= 0 || poll(&ready, 1, static_cast<int>(left.count())) != 1) return false;
    if (recv(fd, buffer, sizeof buffer, 0) <= 0) return true;
  }
}

class AbuseTest : public ::testing::Test {
 protected:
  AbuseTest() {
    const std::string keys = (folder_.path() / "keys").string();
    std::ofstream(keys) << "anna " << kKey << "\n";
    program_ = std::make_unique<Program>(
        "kvasir-tokenizer",
        std::vector<std::string>{"--listen=127.0.0.1:0", "--metrics=127.0.0.1:0",
                                 "--api-keys=" + keys, "--log-level=error"});
    metrics_ = program_->AwaitLine("metrics on ");
    address_ = program_->AwaitLine("listening on ");
  }
  double Metric(const std::string& name) const {
    const std::string text = Scrape(metrics_);
    const size_t begin = text.find("\n" + name + " ");
    EXPECT_NE(begin, std::string::npos) << name;
    return begin == std::string::npos ? 0 : std::stod(text.substr(begin + name.size() + 2));
  }

  // The program's largest size in memory so far.
  size_t PeakMiB() const {
    std::ifstream status("/proc/" + std::to_string(program_->pid()) + "/status");
    for (std::string word; status >> word;) {
      size_t kib = 0;
      if (word == "VmHWM:" && status >> kib) return kib >> 10;
    }
    ADD_FAILURE() << "no VmHWM";
    return 0;
  }
  // A call of Encode without a key, over a connection of its own, that is this message.
  grpc::Status Flood(const grpc::Slice& message) const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxSendMessageSize(-1);
    grpc::GenericStub stub(
        grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments));
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    const auto call = stub.PrepareUnaryCall(&context, "/kvasir.v1.TokenizerService/Encode",
                                            grpc::ByteBuffer(&message, 1), &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    return status;
  }

  testing::TemporaryDirectory folder_;
  std::unique_ptr<Program> program_;
  std::string metrics_, address_;
};

// Slow loris: who does not come to the point is shown out.
TEST_F(AbuseTest, ConnectionsThatSayNothingEnd) {
  const auto anna = Connect(address_);
  EXPECT_TRUE(Encode(*anna, "Hello", kKey).ok());
  const double before = Metric("process_open_fds");
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  std::vector<int> connections;
  for (int i = 0; i < 300; ++i) {
    connections.push_back(ConnectAndSend(address_, i % 3 == 0 ? ""
                                                   : i % 3 == 1
                                                       ? preface.substr(0, 10)
                                                       : preface + std::string("\0\0\6\4", 4)));
  }
  EXPECT_TRUE(Encode(*anna, "Hello", kKey).ok());
  const auto end = Clock::now() + std::chrono::seconds(30);
  for (const int fd : connections) {
    EXPECT_TRUE(ClosedBefore(fd, end));
    close(fd);
  }
  EXPECT_TRUE(Encode(*anna, "Hello", kKey).ok());
  while (Metric("process_open_fds") > before + 5) {
    ASSERT_LT(Clock::now(), end);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

TEST_F(AbuseTest, HeadersAndMessagesThatAreTooMuchAreRefused) {
  const auto anna = Connect(address_);
  EXPECT_TRUE(Encode(*anna, "Hello", kKey, 8 << 10).ok());
  const grpc::Status headers = Encode(*anna, "Hello", kKey, 64 << 10);
  EXPECT_EQ(headers.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << headers.error_message();
  const auto bob = Connect(address_);  // the refusal of headers may have ended the connection
  const grpc::Status message = Encode(*bob, std::string(65 * kMiB, 'x'), kKey);
  EXPECT_EQ(message.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << message.error_message();
  EXPECT_TRUE(Encode(*anna, "Hello", kKey).ok());
}

// Large messages of strangers, from many connections at once, are read before they are refused.
TEST_F(AbuseTest, AFloodTakesBoundedMemory) {
  const auto anna = Connect(address_);
  EXPECT_TRUE(Encode(*anna, "Hello", kKey).ok());
  v1::EncodeRequest request;
  request.set_text(std::string(48 * kMiB, 'x'));
  const grpc::Slice bytes(request.SerializeAsString());  // which all of them share
  std::atomic<bool> stop = false;
  std::atomic<int> refused = 0;
  std::vector<std::thread> strangers;
  for (int i = 0; i < 60; ++i) {
    strangers.emplace_back([&] {
      while (!stop) {
        EXPECT_FALSE(Flood(bytes).ok());
        ++refused;
      }
    });
  }
  int served = 0;
  const auto end = Clock::now() + std::chrono::seconds(3);
  while (Clock::now() < end) served += Encode(*anna, "Hello", kKey).ok() ? 1 : 0;
  stop = true;
  for (std::thread& stranger : strangers) stranger.join();
  EXPECT_GT(refused, 0);
  EXPECT_GT(served, 0);
  EXPECT_TRUE(Encode(*anna, "Hello", kKey).ok());
  // Buffers, and what is parsed out of them; all at once would be over 2.8 GiB.
  EXPECT_LT(PeakMiB(), 1024);
}

}  // namespace
}  // namespace kvasir
