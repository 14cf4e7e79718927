#include "services/otlp_client.h"

#include <rapidjson/document.h>

#include <algorithm>
#include <chrono>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace kvasir {
namespace {

// OpenTelemetry's default.
constexpr long kTimeoutMilliseconds = 10'000;
constexpr long kConnectMilliseconds = 3'000;
constexpr int64_t kHurryNanoseconds = 2'000'000'000;
constexpr size_t kLongestAnswer = 65'536;

int64_t SteadyNow() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

size_t KeepAnswer(char* bytes, size_t size, size_t count, void* to) {
  auto& answer = *static_cast<std::string*>(to);
  answer.append(bytes, std::min(size * count, kLongestAnswer - answer.size()));
  return size * count;
}

int IsOver(void* end, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const int64_t at = *static_cast<const std::atomic<int64_t>*>(end);
  return at != 0 && SteadyNow() > at ? 1 : 0;
}

// The member of that name, if `value` is an object and has one.
const rapidjson::Value* MemberOf(const rapidjson::Value& value, const char* name) {
  if (!value.IsObject()) return nullptr;
  const rapidjson::Value::ConstMemberIterator member = value.FindMember(name);
  return member == value.MemberEnd() ? nullptr : &member->value;
}

// ExportTraceServiceResponse.partialSuccess.rejectedSpans: a number, or one in a string.
uint64_t RejectedSpans(const std::string& answer) {
  rapidjson::Document json;
  json.Parse(answer.data(), answer.size());
  if (json.HasParseError()) return 0;
  const rapidjson::Value* const partial = MemberOf(json, "partialSuccess");
  const rapidjson::Value* const rejected =
      partial == nullptr ? nullptr : MemberOf(*partial, "rejectedSpans");
  if (rejected == nullptr) return 0;
  if (rejected->IsUint64()) return rejected->GetUint64();
  uint64_t number = 0;
  if (!rejected->IsString() || !absl::SimpleAtoi(rejected->GetString(), &number)) {
    return 0;
  }
  return number;
}

}  // namespace

absl::StatusOr<OtlpClient> OtlpClient::Create(const std::string& endpoint) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> url(curl_url(), curl_url_cleanup);
  const bool scheme =
      absl::StartsWith(endpoint, "http://") || absl::StartsWith(endpoint, "https://");
  if (!scheme || curl_url_set(url.get(), CURLUPART_URL, endpoint.c_str(), 0) != CURLUE_OK) {
    return absl::InvalidArgumentError("not of the form http://HOST:PORT or https://HOST:PORT");
  }
  OtlpClient client;
  client.url_ = endpoint;
  while (absl::EndsWith(client.url_, "/")) client.url_.pop_back();
  absl::StrAppend(&client.url_, "/v1/traces");

  client.curl_.reset(initialised == CURLE_OK ? curl_easy_init() : nullptr);
  client.headers_.reset(curl_slist_append(nullptr, "Content-Type: application/json"));
  if (client.curl_ == nullptr || client.headers_ == nullptr) {
    return absl::InternalError("libcurl does not start");
  }
  CURL* curl = client.curl_.get();
  curl_easy_setopt(curl, CURLOPT_URL, client.url_.c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, client.headers_.get());
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "kvasir/" KVASIR_VERSION);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);  // there are other threads
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, kTimeoutMilliseconds);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, kConnectMilliseconds);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, KeepAnswer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, IsOver);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, client.end_.get());
  return client;
}

void OtlpClient::Hurry() { *end_ = SteadyNow() + kHurryNanoseconds; }

OtlpClient::Answer OtlpClient::Post(const std::string& body) {
  if (IsOver(end_.get(), 0, 0, 0, 0) != 0) return {.error = "no time is left"};
  CURL* curl = curl_.get();
  std::string text;
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &text);
  curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data());
  Answer answer;
  if (const CURLcode code = curl_easy_perform(curl); code != CURLE_OK) {
    answer.error = curl_easy_strerror(code);
    return answer;
  }
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  if (status == 200) {
    answer.kind = Answer::Kind::kTaken;
    answer.rejected_spans = RejectedSpans(text);
    return answer;
  }
  answer.error = absl::StrCat("HTTP status ", status);
  if (status != 429 && status != 502 && status != 503 && status != 504) {
    answer.kind = Answer::Kind::kRejected;
    return answer;
  }
  curl_off_t seconds = 0;
  curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &seconds);
  if (seconds > 0) answer.retry_after = absl::Seconds(seconds);
  return answer;
}

}  // namespace kvasir
