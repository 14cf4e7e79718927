#ifndef KVASIR_SERVICES_GATEWAY_HTTP_SERVER_H_
#define KVASIR_SERVICES_GATEWAY_HTTP_SERVER_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

struct MHD_Daemon;

namespace kvasir::gateway {

struct HttpRequest {
  std::string method, path;  // without the query
  std::string body;
  // A header's value, whatever the case of its name; empty where there is none.
  std::function<std::string(const char* name)> header;
  // Whether there is nobody any more to read the answer. Cheap: to be asked often.
  std::function<bool()> gone;
};

// An answer's body that comes bit by bit.
class BodyStream {
 public:
  virtual ~BodyStream() = default;
  // Waits for what comes next. False: the body has ended. It is asked for more only once the
  // reader has taken most of what there was.
  virtual bool Next(std::string& piece) = 0;
};

struct HttpReply {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::unique_ptr<BodyStream> stream;  // in place of `body`; destroyed when its reader has gone
};

// HTTP/1.1, a thread for each connection. Bounded: connections, bytes of a body and of all, and the
// time for which a connection may neither send nor take anything.
class HttpServer {
 public:
  struct Options {
    std::string listen;  // HOST:PORT; port 0: any that is free
    unsigned max_connections = 0;
    size_t max_body_bytes = 0;
  };
  // Called on the connection's thread for every request that came whole.
  using Handler = std::function<HttpReply(const HttpRequest& request)>;

  // Bodies of answers to what does not come to the handler.
  struct Refusals {
    std::string too_large;  // 413
    std::string no_room;    // 503: other requests' bodies fill the memory for them
    std::string draining;   // 503: after Drain
  };

  // UNAVAILABLE naming the address where it cannot listen.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const Options& options, Refusals answers,
                                                           Handler handler);
  // Cuts off what still runs.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // With the port that was bound.
  const std::string& address() const { return address_; }

  // No new connections and requests from now on; `idle` is called once no request runs.
  void Drain(std::function<void()> idle);

 private:
  struct Exchange;  // One request and its answer.
  struct Callbacks;

  HttpServer(const Options& options, Refusals answers, Handler handler);
  void Begin();
  void End();

  const Options options_;
  const Refusals answers_;
  const Handler handler_;
  std::string address_;
  MHD_Daemon* daemon_ = nullptr;
  std::atomic<bool> cut_off_ = false;
  std::atomic<size_t> body_bytes_ = 0;  // of requests
  std::mutex mutex_;
  // guarded by mutex_
  int running_ = 0;
  bool draining_ = false;
  std::function<void()> idle_;
};

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_HTTP_SERVER_H_
