#ifndef KVASIR_SERVICES_HUB_HTTP_SESSION_H_
#define KVASIR_SERVICES_HUB_HTTP_SESSION_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/hub/cancellation.h"
#include "services/hub/host_policy.h"

namespace kvasir::hub {

// A server's answer, without the body.
struct HttpAnswer {
  Origin origin;  // who answers
  int code = 0;
  std::map<std::string, std::string> headers;  // by lower-case name; of several the last
  std::string redirect;                        // where a redirect leads to, as a whole address

  // Empty where there is none.
  std::string Header(const std::string& name) const {
    const auto header = headers.find(name);
    return header == headers.end() ? "" : header->second;
  }
};

// One question and what is done with the answer. Functions may be null; a status that one returns
// ends the exchange.
struct HttpExchange {
  std::string url;
  bool head = false;
  int64_t offset = 0;  // the body from here on, where the server can do that
  absl::Duration time_limit = absl::InfiniteDuration();

  // Whether to follow a redirect; without it, always. A redirect that is not followed is the
  // answer.
  std::function<absl::StatusOr<bool>(const HttpAnswer&)> on_redirect;
  // An answer of 2xx, before its body.
  std::function<absl::Status(const HttpAnswer&)> on_success;
  // A piece of the body of an answer of 2xx.
  std::function<absl::Status(std::string_view)> on_body;
};

struct HttpTimes {
  absl::Duration connect = absl::Seconds(10);
  absl::Duration stall = absl::Seconds(30);  // without a byte
};

// HTTP for one thread, over connections that it keeps. Redirects are followed by the policy alone;
// the token goes to the hub alone; who is not named by the user must have a public address, which
// is looked at when it is connected to.
class HttpSession {
 public:
  // REQUIRES: all of them outlive this. `token`: empty for none.
  HttpSession(const HostPolicy& hosts, std::string token, const HttpTimes& times,
              const Cancellation& cancellation);
  ~HttpSession();
  HttpSession(const HttpSession&) = delete;
  HttpSession& operator=(const HttpSession&) = delete;

  // The answer, whatever its code. UNAVAILABLE: not reached, cut off, stalled; asking again may
  // help. PERMISSION_DENIED: the policy. CANCELLED. Else what a function of the exchange returned.
  absl::StatusOr<HttpAnswer> Run(const HttpExchange& exchange);

 private:
  struct Handles;

  absl::StatusOr<HttpAnswer> RunOne(const HttpExchange& exchange, const std::string& url);

  const HostPolicy& hosts_;
  const std::string token_;
  const HttpTimes times_;
  const Cancellation& cancellation_;
  std::unique_ptr<Handles> handles_;
};

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_HTTP_SESSION_H_
