#include "services/hub/hub_answers.h"

#include <curl/curl.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/model/json_fields.h"
#include "services/hub/model_id.h"

namespace kvasir::hub {
namespace {

constexpr char kRetryAfter[] = "kvasir/retry-after";  // a payload's type
constexpr size_t kMaxTold = 200;

// A number of digits alone.
std::optional<int64_t> Number(std::string_view text) {
  int64_t number = 0;
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos ||
      !absl::SimpleAtoi(absl::string_view(text.data(), text.size()), &number)) {
    return std::nullopt;
  }
  return number;
}

// The t of `"api";r=0;t=55`.
std::optional<int64_t> RateLimitReset(std::string_view header) {
  for (size_t at = 0; (at = header.find(';', at)) != std::string_view::npos;) {
    header.remove_prefix(at + 1);
    at = 0;
    while (header.starts_with(' ')) header.remove_prefix(1);
    if (header.starts_with("t=")) {
      header.remove_prefix(2);
      return Number(header.substr(0, header.find_first_not_of("0123456789")));
    }
  }
  return std::nullopt;
}

// What the hub's error codes mean for whoever pulls.
std::string Explanation(const HttpAnswer& answer) {
  const std::string code = answer.Header("x-error-code");
  if (code == "GatedRepo") {
    return "its conditions have to be accepted on its page, and HF_TOKEN has to be of who did";
  }
  if (code == "RevisionNotFound") return "there is no such revision";
  if (code == "EntryNotFound") return "there is no such file";
  if (code == "RepoNotFound" || answer.code == 401) {
    return "there is no such model, or it is private and HF_TOKEN does not open it";
  }
  return Harmless(answer.Header("x-error-message"));
}

absl::StatusCode CodeOf(int http_code) {
  switch (http_code) {
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
    case 410:
      return absl::StatusCode::kNotFound;
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
      return absl::StatusCode::kUnavailable;
    default:
      return absl::StatusCode::kFailedPrecondition;
  }
}

}  // namespace

bool ModelListing::Has(std::string_view file) const {
  return std::ranges::find(files, file) != files.end();
}

absl::StatusOr<ModelListing> ParseModelListing(std::string_view json) {
  constexpr char kName[] = "the list of files";
  const absl::StatusOr<rapidjson::Document> document = JsonFields::Parse(kName, json);
  if (!document.ok()) return document.status();
  const JsonFields fields(kName, *document);
  const auto commit = fields.String("sha");
  if (!commit.ok()) return commit.status();
  if (!commit->has_value() || !IsCommit(**commit)) return fields.Error("sha", "is no commit");
  const rapidjson::Value* files = fields.Find("siblings");
  if (files == nullptr || !files->IsArray()) return fields.Error("siblings", "is no array");
  ModelListing listing = {.commit = std::string(**commit)};
  for (const rapidjson::Value& file : files->GetArray()) {
    if (!file.IsObject()) return fields.Error("siblings", "has what is no object");
    const auto name = JsonFields(kName, file).String("rfilename");
    if (!name.ok()) return name.status();
    if (!name->has_value()) return fields.Error("siblings", "has a file without a name");
    listing.files.emplace_back(**name);
  }
  return listing;
}

std::optional<ContentRange> ParseContentRange(std::string_view header) {
  constexpr std::string_view kUnit = "bytes ";
  const size_t dash = header.find('-'), slash = header.find('/');
  if (!header.starts_with(kUnit) || dash > slash || slash == std::string_view::npos) {
    return std::nullopt;
  }
  const auto first = Number(header.substr(kUnit.size(), dash - kUnit.size()));
  const auto last = Number(header.substr(dash + 1, slash - dash - 1));
  const auto size = Number(header.substr(slash + 1));
  if (!first || !last || !size || *first > *last || *last >= *size) return std::nullopt;
  return ContentRange{*first, *last, *size};
}

std::optional<int64_t> SizeIn(const HttpAnswer& answer) {
  if (const std::string linked = answer.Header("x-linked-size"); !linked.empty()) {
    return Number(linked);
  }
  // A redirect's own length is not the file's.
  if (!answer.redirect.empty()) return std::nullopt;
  return Number(answer.Header("content-length"));
}

std::string EtagIn(const HttpAnswer& answer) {
  const std::string linked = answer.Header("x-linked-etag");
  if (!linked.empty()) return linked;
  return answer.redirect.empty() ? answer.Header("etag") : "";
}

std::optional<absl::Duration> RetryAfterIn(const HttpAnswer& answer, absl::Time now) {
  const std::string value = answer.Header("retry-after");
  if (const auto seconds = Number(value)) return absl::Seconds(*seconds);
  if (!value.empty()) {
    const time_t date = curl_getdate(value.c_str(), nullptr);
    if (date != -1) return std::max(absl::FromTimeT(date) - now, absl::ZeroDuration());
  }
  if (const auto seconds = RateLimitReset(answer.Header("ratelimit"))) {
    return absl::Seconds(*seconds);
  }
  return std::nullopt;
}

std::string Harmless(std::string_view text) {
  std::string told(text.substr(0, kMaxTold));
  std::ranges::replace_if(
      told, [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; }, '?');
  return told;
}

absl::Status StatusOfAnswer(const HttpAnswer& answer, const std::string& what) {
  const std::string explanation = Explanation(answer);
  absl::Status status(CodeOf(answer.code),
                      absl::StrCat(what, ": ", answer.origin.Text(), " answers ", answer.code,
                                   explanation.empty() ? "" : ": ", explanation));
  if (status.code() == absl::StatusCode::kUnavailable) {
    if (const auto wait = RetryAfterIn(answer, absl::Now())) {
      status.SetPayload(kRetryAfter, absl::Cord(absl::FormatDuration(*wait)));
    }
  }
  return status;
}

std::optional<absl::Duration> RetryAfterOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryAfter);
  absl::Duration wait;
  if (!payload.has_value() || !absl::ParseDuration(std::string(*payload), &wait)) {
    return std::nullopt;
  }
  return wait;
}

}  // namespace kvasir::hub
