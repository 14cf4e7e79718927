#ifndef KVASIR_SERVICES_GATEWAY_GATEWAY_H_
#define KVASIR_SERVICES_GATEWAY_GATEWAY_H_

#include <string>

#include "services/gateway/http_server.h"
#include "services/gateway/kvasir_services.h"
#include "services/gateway/openai_request.h"
#include "services/gateway/session_keeper.h"

namespace kvasir::gateway {

// The OpenAI API over Kvasir's two services. Thread-safe.
class Gateway {
 public:
  // `only_loopback`: whoever asks under another name than this host's own, as a page of the web may
  // once its name leads here, is refused. REQUIRES: services and keeper outlive this.
  Gateway(KvasirServices& services, SessionKeeper& keeper, bool only_loopback)
      : services_(services), keeper_(keeper), only_loopback_(only_loopback) {}

  // Answers a request, and logs it.
  HttpReply Answer(const HttpRequest& request);

  static HttpServer::Refusals Refusals(size_t most_bytes);

 private:
  HttpReply Route(const HttpRequest& request);
  HttpReply Models(const Caller& caller, const std::string& path);
  HttpReply Health();
  HttpReply Chat(const HttpRequest& request, const Caller& caller);
  HttpReply Complete(const HttpRequest& request, const Caller& caller);

  KvasirServices& services_;
  SessionKeeper& keeper_;
  const bool only_loopback_;
};

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_GATEWAY_H_
