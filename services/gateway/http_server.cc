#include "services/gateway/http_server.h"

#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace kvasir::gateway {
namespace {

constexpr unsigned kIdleSeconds = 60;
constexpr int kBacklog = 1024;
constexpr size_t kStreamBlock = 16 << 10;
// Of the requests of all connections.
constexpr size_t kMostBodyBytes = 256 << 20;

// A listening socket; nothing where there can be none.
std::optional<int> Listen(const std::string& host, const std::string& port) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) return std::nullopt;
  std::optional<int> listener;
  for (const addrinfo* at = found; at != nullptr && !listener.has_value(); at = at->ai_next) {
    const int made = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
    if (made < 0) continue;
    const int on = 1;
    setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(made, at->ai_addr, at->ai_addrlen) == 0 && listen(made, kBacklog) == 0) {
      listener = made;
    } else {
      close(made);
    }
  }
  freeaddrinfo(found);
  return listener;
}

std::string PortOf(int listener) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  char port[NI_MAXSERV] = "0";
  if (getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    getnameinfo(reinterpret_cast<sockaddr*>(&address), size, nullptr, 0, port, sizeof(port),
                NI_NUMERICSERV);
  }
  return port;
}

void Log(void*, const char* format, va_list arguments) {
  char line[512];
  std::vsnprintf(line, sizeof(line), format, arguments);
  spdlog::debug("http: {}", line);
}

int SocketOf(MHD_Connection* connection) {
  return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

bool HasHungUp(int socket) {
  pollfd polled = {.fd = socket, .events = POLLRDHUP, .revents = 0};
  return poll(&polled, 1, 0) > 0 && (polled.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

}  // namespace

struct HttpServer::Exchange {
  explicit Exchange(HttpServer* server) : server(server) { server->Begin(); }
  ~Exchange() {
    stream.reset();
    DropBody();
    server->End();
  }

  void DropBody() {
    server->body_bytes_ -= request.body.size();
    request.body = {};
  }

  // More of the body.
  void Take(std::string_view bytes) {
    const size_t most = server->options_.max_body_bytes;
    too_large |= bytes.size() > most - request.body.size();
    no_room |= server->body_bytes_ + bytes.size() > std::max(most, kMostBodyBytes);
    if (too_large || no_room) {
      DropBody();
    } else {
      request.body += bytes;
      server->body_bytes_ += bytes.size();
    }
  }

  HttpServer* const server;
  MHD_Connection* connection = nullptr;
  HttpRequest request;
  bool too_large = false;
  bool no_room = false;  // for it, beside the others
  std::unique_ptr<BodyStream> stream;
  std::string piece;  // of it, from `taken` on not taken yet
  size_t taken = 0;
};

// What the library calls.
struct HttpServer::Callbacks {
  static MHD_Result Handle(void* server, MHD_Connection* connection, const char* url,
                           const char* method, const char* /*version*/, const char* upload,
                           size_t* upload_size, void** state) {
    if (*state == nullptr) {
      *state = new Exchange(static_cast<HttpServer*>(server));
      return MHD_YES;
    }
    Exchange& exchange = *static_cast<Exchange*>(*state);
    if (*upload_size > 0) {
      exchange.Take({upload, *upload_size});
      *upload_size = 0;
      return MHD_YES;
    }
    exchange.connection = connection;
    exchange.request.method = method;
    exchange.request.path = url;
    return Answer(exchange);
  }

  static MHD_Result Answer(Exchange& exchange) {
    HttpServer& server = *exchange.server;
    MHD_Connection* connection = exchange.connection;
    exchange.request.header = [connection](const char* name) -> std::string {
      const char* value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
      return value == nullptr ? "" : value;
    };
    exchange.request.gone = [&server, socket = SocketOf(connection)] {
      return server.cut_off_ || HasHungUp(socket);
    };
    bool draining = false;
    {
      const std::lock_guard lock(server.mutex_);
      draining = server.draining_;
    }
    HttpReply reply;
    const bool refused = draining || exchange.no_room;
    if (refused) {
      reply = {.status = 503,
               .headers = {},
               .body = draining ? server.answers_.draining : server.answers_.no_room,
               .stream = nullptr};
    } else if (exchange.too_large) {
      reply = {.status = 413, .headers = {}, .body = server.answers_.too_large, .stream = nullptr};
    } else {
      // While we compute, the connection is not idle.
      MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
      reply = server.handler_(exchange.request);
      exchange.DropBody();
      MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, kIdleSeconds);
    }
    if (refused || exchange.too_large) reply.headers.emplace_back("Connection", "close");
    return Send(exchange, std::move(reply));
  }

  static MHD_Result Send(Exchange& exchange, HttpReply reply) {
    exchange.stream = std::move(reply.stream);
    MHD_Response* response = exchange.stream != nullptr
                                 ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, kStreamBlock,
                                                                     Read, &exchange, nullptr)
                                 : MHD_create_response_from_buffer(
                                       reply.body.size(), reply.body.data(), MHD_RESPMEM_MUST_COPY);
    if (response == nullptr) return MHD_NO;
    const bool typed = std::any_of(reply.headers.begin(), reply.headers.end(), [](const auto& h) {
      return h.first == MHD_HTTP_HEADER_CONTENT_TYPE;
    });
    if (!typed) reply.headers.emplace_back(MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    for (const auto& [name, value] : reply.headers) {
      MHD_add_response_header(response, name.c_str(), value.c_str());
    }
    const MHD_Result sent =
        MHD_queue_response(exchange.connection, static_cast<unsigned>(reply.status), response);
    MHD_destroy_response(response);
    return sent;
  }

  static ssize_t Read(void* state, uint64_t, char* buffer, size_t size) {
    Exchange& exchange = *static_cast<Exchange*>(state);
    if (exchange.taken == exchange.piece.size()) {
      exchange.piece.clear();
      exchange.taken = 0;
      MHD_set_connection_option(exchange.connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
      while (exchange.piece.empty()) {
        if (!exchange.stream->Next(exchange.piece)) return MHD_CONTENT_READER_END_OF_STREAM;
      }
      MHD_set_connection_option(exchange.connection, MHD_CONNECTION_OPTION_TIMEOUT, kIdleSeconds);
    }
    const size_t now = std::min(size, exchange.piece.size() - exchange.taken);
    exchange.piece.copy(buffer, now, exchange.taken);
    exchange.taken += now;
    return static_cast<ssize_t>(now);
  }

  static void Completed(void*, MHD_Connection*, void** state, MHD_RequestTerminationCode) {
    delete static_cast<Exchange*>(*state);
    *state = nullptr;
  }
};

HttpServer::HttpServer(const Options& options, Refusals answers, Handler handler)
    : options_(options), answers_(std::move(answers)), handler_(std::move(handler)) {}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const Options& options,
                                                              Refusals answers, Handler handler) {
  const size_t colon = options.listen.rfind(':');
  std::string host = options.listen.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const std::optional<int> listener = Listen(host, options.listen.substr(colon + 1));
  if (!listener.has_value()) {
    return absl::UnavailableError(absl::StrCat("--listen: cannot listen on ", options.listen,
                                               " (taken, or no address of this host?)"));
  }
  std::unique_ptr<HttpServer> server(
      new HttpServer(options, std::move(answers), std::move(handler)));
  server->address_ = absl::StrCat(options.listen.substr(0, colon + 1), PortOf(*listener));
  server->daemon_ =
      MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
                           MHD_USE_POLL | MHD_USE_ITC | MHD_USE_ERROR_LOG,
                       0, nullptr, nullptr, Callbacks::Handle, server.get(),        //
                       MHD_OPTION_EXTERNAL_LOGGER, Log, nullptr,                    //
                       MHD_OPTION_LISTEN_SOCKET, *listener,                         //
                       MHD_OPTION_CONNECTION_LIMIT, options.max_connections,        //
                       MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds,                 //
                       MHD_OPTION_NOTIFY_COMPLETED, Callbacks::Completed, nullptr,  //
                       MHD_OPTION_END);
  if (server->daemon_ == nullptr) {
    close(*listener);
    return absl::InternalError("the HTTP server does not start");
  }
  return server;
}

HttpServer::~HttpServer() {
  cut_off_ = true;
  if (daemon_ != nullptr) MHD_stop_daemon(daemon_);
}

void HttpServer::Drain(std::function<void()> idle) {
  const int listener = MHD_quiesce_daemon(daemon_);
  if (listener >= 0) close(listener);
  const std::lock_guard lock(mutex_);
  draining_ = true;
  if (running_ == 0) {
    idle();
  } else {
    idle_ = std::move(idle);
  }
}

void HttpServer::Begin() {
  const std::lock_guard lock(mutex_);
  ++running_;
}

void HttpServer::End() {
  const std::lock_guard lock(mutex_);
  if (--running_ == 0 && idle_ != nullptr) std::exchange(idle_, nullptr)();
}

}  // namespace kvasir::gateway
