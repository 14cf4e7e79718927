#include "services/hub/http_session.h"

#include <curl/curl.h>
#include <sys/socket.h>

#include <cstdlib>
#include <mutex>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/check.h"
#include "services/hub/public_address.h"

namespace kvasir::hub {
namespace {

constexpr int kMaxRedirects = 10;
constexpr int kPollMilliseconds = 100;
constexpr long kReceiveBuffer = 256 << 10;
constexpr size_t kMaxIgnored = 64 << 10;  // of a body that nobody reads

// One request and its answer: what the library's callbacks see.
struct Hop {
  const HttpExchange& exchange;
  CURL* easy;
  HttpAnswer answer;
  bool headers_done = false;
  size_t ignored = 0;
  absl::Time last_byte = absl::Now();
  absl::Status status;       // why a callback ended the transfer
  std::string refused = {};  // the last address that is not public
};

bool IsSuccess(int code) { return code >= 200 && code < 300; }

// "Name: value", the status line of an answer, or the empty line that ends its headers.
void TakeHeader(Hop& hop, std::string_view line) {
  line = line.substr(0, line.find_last_not_of("\r\n") + 1);
  if (hop.headers_done) return;  // trailers
  if (line.starts_with("HTTP/")) {
    hop.answer.headers.clear();  // those before were of an interim answer
    return;
  }
  if (!line.empty()) {
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    std::string name(line.substr(0, colon)), value(line.substr(colon + 1));
    absl::AsciiStrToLower(&name);
    absl::StripAsciiWhitespace(&value);
    hop.answer.headers[name] = std::move(value);
    return;
  }
  long code = 0;
  curl_easy_getinfo(hop.easy, CURLINFO_RESPONSE_CODE, &code);
  hop.answer.code = static_cast<int>(code);
  if (code < 200) return;
  hop.headers_done = true;
  if (IsSuccess(hop.answer.code) && hop.exchange.on_success) {
    hop.status = hop.exchange.on_success(hop.answer);
  }
}

// The library's callbacks: what they return other than `size` ends the transfer.
size_t OnHeader(char* data, size_t, size_t size, void* user) {
  Hop& hop = *static_cast<Hop*>(user);
  TakeHeader(hop, {data, size});
  hop.last_byte = absl::Now();
  return hop.status.ok() ? size : 0;
}

size_t OnBody(char* data, size_t, size_t size, void* user) {
  Hop& hop = *static_cast<Hop*>(user);
  if (!IsSuccess(hop.answer.code)) {
    hop.ignored += size;
    return hop.ignored <= kMaxIgnored ? size : 0;
  }
  if (hop.exchange.on_body) hop.status = hop.exchange.on_body({data, size});
  hop.last_byte = absl::Now();
  return hop.status.ok() ? size : 0;
}

curl_socket_t OpenPublicSocket(void* user, curlsocktype, curl_sockaddr* address) {
  if (!IsPublicAddress(address->addr)) {
    static_cast<Hop*>(user)->refused = AddressText(address->addr);
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

bool IsSet(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

// Whether the environment names a proxy for such addresses, as the library reads it.
bool HasProxy(const std::string& scheme) {
  return IsSet(scheme == "https" ? "https_proxy" : "http_proxy") ||
         (scheme == "https" && IsSet("HTTPS_PROXY")) || IsSet("all_proxy") || IsSet("ALL_PROXY");
}

absl::Status StatusOfTransfer(const Hop& hop, CURLcode code, const char* detail) {
  if (!hop.status.ok()) return hop.status;
  if (code == CURLE_OK) return absl::OkStatus();
  const std::string host = hop.answer.origin.Text();
  if (code == CURLE_COULDNT_CONNECT && !hop.refused.empty()) {
    return absl::PermissionDeniedError(absl::StrCat(
        host, " is at ", hop.refused, ", which is no public address: name the host itself in ",
        "--redirect-hosts if that is right"));
  }
  const std::string why =
      absl::StrCat(host, ": ", *detail != '\0' ? detail : curl_easy_strerror(code));
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE) {
    return absl::FailedPreconditionError(why);
  }
  return absl::UnavailableError(why);
}

// Sets what is the same for every request.
void SetUp(CURL* easy, Hop& hop, const std::string& url, const HttpTimes& times, char* error) {
  curl_easy_reset(easy);
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "kvasir/" KVASIR_VERSION);
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kReceiveBuffer);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(absl::ToInt64Milliseconds(times.connect)));
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &hop);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &hop);
  if (hop.exchange.head) curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  if (hop.exchange.offset > 0) {
    curl_easy_setopt(easy, CURLOPT_RANGE, absl::StrCat(hop.exchange.offset, "-").c_str());
  }
}

// For who is not named by the user: a public address, or the proxy, past which nothing then goes.
void KeepPublic(CURL* easy, Hop& hop) {
  if (HasProxy(hop.answer.origin.scheme)) {
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
  } else {
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, OpenPublicSocket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &hop);
  }
}

}  // namespace

struct HttpSession::Handles {
  CURLM* multi = nullptr;
  CURL* easy = nullptr;

  Handles() {
    static std::once_flag once;
    std::call_once(once, [] { KVASIR_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); });
    multi = curl_multi_init();
    easy = curl_easy_init();
    KVASIR_CHECK(multi != nullptr && easy != nullptr);
  }
  ~Handles() {
    curl_easy_cleanup(easy);
    curl_multi_cleanup(multi);
  }
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;

  // Until the transfer has ended, or `enough` gives a reason to end it.
  CURLcode Transfer(Hop& hop, const std::function<absl::Status()>& enough) {
    KVASIR_CHECK(curl_multi_add_handle(multi, easy) == CURLM_OK);
    for (int running = 1; hop.status.ok();) {
      KVASIR_CHECK(curl_multi_perform(multi, &running) == CURLM_OK);
      if (running == 0) break;
      hop.status = enough();
      curl_multi_poll(multi, nullptr, 0, kPollMilliseconds, nullptr);
    }
    CURLcode code = CURLE_OK;
    int left = 0;
    if (const CURLMsg* message = curl_multi_info_read(multi, &left)) code = message->data.result;
    char* redirect = nullptr;
    curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &redirect);
    if (redirect != nullptr) hop.answer.redirect = redirect;
    curl_multi_remove_handle(multi, easy);
    return code;
  }
};

HttpSession::HttpSession(const HostPolicy& hosts, std::string token, const HttpTimes& times,
                         const Cancellation& cancellation)
    : hosts_(hosts),
      token_(std::move(token)),
      times_(times),
      cancellation_(cancellation),
      handles_(std::make_unique<Handles>()) {}

HttpSession::~HttpSession() = default;

absl::StatusOr<HttpAnswer> HttpSession::RunOne(const HttpExchange& exchange,
                                               const std::string& url) {
  absl::StatusOr<Origin> origin = OriginOf(url);
  if (!origin.ok()) return origin.status();
  CURL* easy = handles_->easy;
  Hop hop = {.exchange = exchange, .easy = easy, .answer = {.origin = *std::move(origin)}};
  char error[CURL_ERROR_SIZE] = "";
  SetUp(easy, hop, url, times_, error);
  if (!hosts_.MayBePrivate(hop.answer.origin)) KeepPublic(easy, hop);
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(nullptr, curl_slist_free_all);
  if (!token_.empty() && hosts_.IsHub(hop.answer.origin)) {
    headers.reset(curl_slist_append(nullptr, ("Authorization: Bearer " + token_).c_str()));
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers.get());
  }

  const absl::Time start = absl::Now();
  const auto enough = [&]() -> absl::Status {
    const absl::Time now = absl::Now();
    if (cancellation_.cancelled()) return absl::CancelledError("interrupted");
    const std::string host = hop.answer.origin.Text();
    if (now - hop.last_byte > times_.stall) {
      return absl::UnavailableError(
          absl::StrCat(host, ": not a byte for ", absl::FormatDuration(times_.stall)));
    }
    if (now - start > exchange.time_limit) {
      return absl::UnavailableError(absl::StrCat(host, ": no whole answer within ",
                                                 absl::FormatDuration(exchange.time_limit)));
    }
    return absl::OkStatus();
  };
  const CURLcode code = handles_->Transfer(hop, enough);
  // Of a body that is not read, only the headers count.
  const bool answered = hop.headers_done && !IsSuccess(hop.answer.code) && hop.status.ok();
  if (!answered) {
    if (absl::Status status = StatusOfTransfer(hop, code, error); !status.ok()) return status;
  }
  return std::move(hop.answer);
}

absl::StatusOr<HttpAnswer> HttpSession::Run(const HttpExchange& exchange) {
  std::string url = exchange.url;
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    absl::StatusOr<HttpAnswer> answer = RunOne(exchange, url);
    if (!answer.ok() || answer->redirect.empty()) return answer;
    if (exchange.on_redirect) {
      const absl::StatusOr<bool> follow = exchange.on_redirect(*answer);
      if (!follow.ok()) return follow.status();
      if (!*follow) return answer;
    }
    if (absl::Status status = hosts_.CheckRedirect(answer->redirect); !status.ok()) return status;
    url = answer->redirect;
  }
  return absl::FailedPreconditionError(absl::StrCat(
      OriginOf(exchange.url)->Text(), " redirects more than ", kMaxRedirects, " times: a loop"));
}

}  // namespace kvasir::hub
