#include "tests/services/crash/fleet.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <sstream>
#include <thread>

#include "tests/services/raw_call.h"

namespace kvasir::testing {
namespace {

constexpr char kHaproxy[] = "/usr/sbin/haproxy";
constexpr std::chrono::seconds kPatience(30);
constexpr int kStatusColumn = 17;  // of "show stat"

std::unique_ptr<v1::ModelService::Stub> StubOf(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // A replica that comes back is not waited for for long.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  return v1::ModelService::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

}  // namespace

Fleet::Fleet(int replicas) {
  replicas_.resize(replicas);
  std::vector<std::string> environment = {
      "KVASIR_PROXY_LISTEN=unix@" + (directory_.path() / "listen").string(),
      "KVASIR_PROXY_SOCKET=" + (directory_.path() / "admin").string()};
  for (int i = 0; i < replicas; ++i) {
    Start(i, "127.0.0.1:0");
    environment.push_back("KVASIR_REPLICA_" + std::to_string(i + 1) + "=" + replicas_[i].address);
  }
  const std::string config = std::string(KVASIR_SOURCE_DIR) + "/deploy/haproxy/haproxy.cfg";
  proxy_ = std::make_unique<Program>(kHaproxy, std::vector<std::string>{"-f", config}, environment);
  for (int i = 0; i < replicas; ++i) AwaitStatus(i, "UP");
}

void Fleet::Start(int replica, const std::string& listen) {
  Replica& started = replicas_[replica];
  const std::string name = "replica" + std::to_string(replica + 1) + ":50052";
  started.program = std::make_unique<Program>(
      "kvasir-model",
      std::vector<std::string>{"--listen=" + listen, "--metrics=127.0.0.1:0", "--threads=1",
                               "--kv-memory=256MiB", "--log-level=error", "--advertise=" + name,
                               "--session-store=" + redis_.url()});
  started.metrics = started.program->AwaitLine("metrics on ");
  started.address = started.program->AwaitLine("listening on ");
}

std::string Fleet::proxy_address() const {
  return "unix:" + (directory_.path() / "listen").string();
}

std::unique_ptr<v1::ModelService::Stub> Fleet::NewStub() const { return StubOf(proxy_address()); }

std::unique_ptr<v1::ModelService::Stub> Fleet::NewStubOf(int replica) const {
  return StubOf(replicas_[replica].address);
}

void Fleet::Terminate(int replica) {
  Program& program = *replicas_[replica].program;
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait(), 0) << program.standard_error();
}

void Fleet::Kill(int replica) {
  Program& program = *replicas_[replica].program;
  program.Signal(SIGKILL);
  EXPECT_EQ(program.Wait(), -SIGKILL) << program.standard_error();
}

void Fleet::Restart(int replica) {
  Start(replica, replicas_[replica].address);
  AwaitStatus(replica, "UP");
}

std::string Fleet::Ask(const std::string& command) const {
  sockaddr_un to = {};
  to.sun_family = AF_UNIX;
  const std::string path = (directory_.path() / "admin").string();
  std::strncpy(to.sun_path, path.c_str(), sizeof(to.sun_path) - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) {
    const std::string line = command + "\n";
    EXPECT_EQ(send(fd, line.data(), line.size(), MSG_NOSIGNAL), ssize_t(line.size()));
    char buffer[4096];
    for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;) {
      answer.append(buffer, static_cast<size_t>(got));
    }
  }
  close(fd);
  return answer;
}

void Fleet::SetState(int replica, const std::string& state) {
  const std::string server = "replicas/replica" + std::to_string(replica + 1);
  EXPECT_EQ(Ask("set server " + server + " state " + state), "\n");
}

void Fleet::BreakStreams(int replica) {
  EXPECT_EQ(Ask("shutdown sessions server replicas/replica" + std::to_string(replica + 1)), "\n");
}

void Fleet::AwaitStatus(int replica, const std::string& status) {
  const std::string begin = "replicas,replica" + std::to_string(replica + 1) + ",";
  const auto until = std::chrono::steady_clock::now() + kPatience;
  std::string found;
  while (std::chrono::steady_clock::now() < until) {
    std::istringstream lines(Ask("show stat"));
    for (std::string line; std::getline(lines, line);) {
      if (line.compare(0, begin.size(), begin) != 0) continue;
      std::istringstream columns(line);
      for (int i = 0; i <= kStatusColumn; ++i) std::getline(columns, found, ',');
    }
    if (found.compare(0, status.size(), status) == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ADD_FAILURE() << begin << " is '" << found << "', not " << status;
}

double Fleet::Metric(int replica, const std::string& name) const {
  const std::string text = "\n" + Scrape(replicas_[replica].metrics);
  const size_t begin = text.find("\n" + name + " ");
  EXPECT_NE(begin, std::string::npos) << name;
  return begin == std::string::npos ? -1 : std::stod(text.substr(begin + name.size() + 2));
}

std::set<std::string> Fleet::CachedSessions(int replica) const {
  const auto stub = NewStubOf(replica);
  std::set<std::string> cached;
  v1::ListSessionsRequest request;
  request.set_page_size(1000);
  do {
    v1::ListSessionsResponse response;
    const grpc::Status status = List(*stub, request, response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    for (const v1::Session& session : response.sessions()) {
      if (session.cached_tokens() > 0) cached.insert(session.session_id());
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return cached;
}

}  // namespace kvasir::testing
