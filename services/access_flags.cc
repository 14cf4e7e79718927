#include "services/access_flags.h"

#include <arpa/inet.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace kvasir {
namespace {

// Whether only this machine reaches a HOST:PORT to listen on. Of names only localhost is believed.
bool IsLoopback(const std::string& listen) {
  std::string host = listen.substr(0, listen.rfind(':'));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6;
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6) != 0;
  return host == "localhost";
}

void TellOperator(bool ok, const std::string& line) {
  spdlog::log(ok ? spdlog::level::info : spdlog::level::err, "{}", line);
}

}  // namespace

void AccessFlags::AddTo(ServiceCommand& command) {
  command.AddFlag(
      "--api-keys", api_keys_,
      "File with a line for each key that opens this service: TENANT KEY, or TENANT "
      "sha256:DIGEST; read anew when it changes. Calls carry authorization: Bearer KEY");
  command.AddSwitch("--insecure", insecure_,
                    "Serve the network without asking who calls; else refused off loopback");
}

absl::Status AccessFlags::Apply(const ServiceCommand& command) {
  listen_ = command.listen();
  if (!api_keys_.empty()) {
    auto opened = Authenticator::Open({.api_keys = api_keys_, .tell = TellOperator});
    if (!opened.ok()) return opened.status();
    authenticator_ = *std::move(opened);
  }
  if (authenticator_ == nullptr && !insecure_ && !IsLoopback(listen_)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--listen=", listen_, " serves the network to everybody: give --api-keys, or ",
                     "--insecure if that is meant"));
  }
  return absl::OkStatus();
}

void AccessFlags::Log() const {
  if (IsLoopback(listen_)) return;
  if (authenticator_ == nullptr) {
    spdlog::warn("whoever reaches {} may call: no key is asked for (--insecure)", listen_);
  }
}

}  // namespace kvasir
