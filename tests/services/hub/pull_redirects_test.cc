// A hub that redirects to where it should not: nothing arrives there, least of all the token.
#include <cstdlib>
#include <filesystem>

#include "tests/services/hub/pull_fixture.h"

namespace kvasir::hub {
namespace {

namespace fs = std::filesystem;
using kvasir::testing::HubReply;
using kvasir::testing::HubRequest;
using kvasir::testing::kShard1;

class PullRedirects : public kvasir::testing::PullFixture {
 protected:
  void RedirectTo(const std::string& address) {
    server_.OnReply([=](const HubRequest& request, HubReply& reply) {
      if (reply.code == 302 && request.method == "GET") reply.headers["Location"] = address;
    });
  }
  // Counts what arrived at the content server.
  int Arrived() const {
    int arrived = 0;
    for (const HubRequest& request : server_.requests())
      arrived += request.to_content_server ? 1 : 0;
    return arrived;
  }
};

TEST_F(PullRedirects, OnlyToHostsOnTheList) {
  options_.redirect_hosts = DefaultRedirectHosts();
  ExpectFails(absl::StatusCode::kPermissionDenied,
              server_.content_server() + ", which is not among --redirect-hosts=huggingface.co,");
  EXPECT_EQ(Arrived(), 0);
}

TEST_F(PullRedirects, NotToPrivateAddressesByPattern) {
  options_.redirect_hosts = {"127.*"};
  ExpectFails(absl::StatusCode::kPermissionDenied, "is at 127.0.0.2, which is no public address");
  options_.redirect_hosts = {"local*"};  // a name that resolves to one
  RedirectTo("http://localhost:80/");
  ExpectFails(absl::StatusCode::kPermissionDenied, "which is no public address");
  EXPECT_EQ(Arrived(), 0);
}

TEST_F(PullRedirects, NotToAnotherPortOfTheHubsMachine) {
  RedirectTo("http://127.0.0.1:22/");
  ExpectFails(absl::StatusCode::kPermissionDenied, "http://127.0.0.1:22, which is not among");
}

TEST_F(PullRedirects, NotToOtherKindsOfAddresses) {
  for (const char* address : {"file:///etc/passwd", "ftp://127.0.0.2/x", "http://user:x@127.0.0.2/",
                              "gopher://127.0.0.2/", "http:///"}) {
    RedirectTo(address);
    const absl::Status status = Pull().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << address << status;
    EXPECT_FALSE(fs::exists(Snapshot()));
  }
  EXPECT_EQ(Arrived(), 0);
}

// The content server as a proxy, which alone can reach the host that the hub redirects to.
TEST_F(PullRedirects, ThroughAProxyAndNotPastIt) {
  setenv("http_proxy", server_.content_server().c_str(), 1);
  setenv("no_proxy", "127.0.0.1,files.example", 1);
  options_.redirect_hosts = {"*.example"};
  options_.hub.token = "hf_secret";
  server_.OnReply([this](const HubRequest&, HubReply& reply) {
    const auto location = reply.headers.find("Location");
    if (location == reply.headers.end()) return;
    location->second.replace(0, server_.content_server().size(), "http://files.example");
  });
  ExpectPulls();
  unsetenv("http_proxy");
  unsetenv("no_proxy");
  EXPECT_EQ(server_.Count("GET", "http://files.example/content/" + server_.HashOf(kShard1)), 1);
  for (const HubRequest& request : server_.requests()) {
    EXPECT_EQ(request.Header("authorization"), request.to_content_server ? "" : "Bearer hf_secret");
  }
}

TEST_F(PullRedirects, NotForEver) {
  RedirectTo(server_.content_server() + "/again");
  const auto first = [this](const HubRequest& request, HubReply& reply) {
    if (request.method == "GET" && (reply.code == 302 || request.target == "/again")) {
      reply = {.code = 302, .headers = {{"Location", server_.content_server() + "/again"}}};
    }
  };
  server_.OnReply(first);
  ExpectFails(absl::StatusCode::kFailedPrecondition, "a loop");
}

}  // namespace
}  // namespace kvasir::hub
