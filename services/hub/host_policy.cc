#include "services/hub/host_policy.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace kvasir::hub {
namespace {

std::string Part(CURLU* url, CURLUPart part, unsigned int flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return "";
  std::string copy = text;
  curl_free(text);
  return copy;
}

// Whether `pattern`, in which '*' is any run of characters, is all of `text`.
bool Matches(std::string_view pattern, std::string_view text) {
  size_t star = std::string_view::npos, resume = 0, p = 0, t = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;  // the run was longer
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

bool IsHostPattern(std::string_view pattern) {
  constexpr std::string_view kCharacters = "abcdefghijklmnopqrstuvwxyz0123456789-._:[]*";
  return !pattern.empty() && pattern.find_first_not_of(kCharacters) == std::string_view::npos;
}

}  // namespace

std::string Origin::Text() const {
  const bool usual = port == (scheme == "https" ? 443 : 80);
  return absl::StrCat(scheme, "://", host, usual ? "" : absl::StrCat(":", port));
}

absl::StatusOr<Origin> OriginOf(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), curl_url_cleanup);
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) {
    return absl::InvalidArgumentError("is no address of the form https://HOST/PATH");
  }
  Origin origin;
  origin.scheme = absl::AsciiStrToLower(Part(parsed.get(), CURLUPART_SCHEME));
  origin.host = absl::AsciiStrToLower(Part(parsed.get(), CURLUPART_HOST));
  const std::string port = Part(parsed.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  if (origin.scheme != "http" && origin.scheme != "https") {
    return absl::InvalidArgumentError("has a scheme that is neither http nor https");
  }
  if (origin.host.empty() || !absl::SimpleAtoi(port, &origin.port)) {
    return absl::InvalidArgumentError("has no host");
  }
  if (!Part(parsed.get(), CURLUPART_USER).empty() ||
      !Part(parsed.get(), CURLUPART_PASSWORD).empty()) {
    return absl::InvalidArgumentError("has a user or a password in it");
  }
  return origin;
}

std::vector<std::string> DefaultRedirectHosts() {
  return {"huggingface.co", "cdn-lfs*.huggingface.co", "hf.co", "*.hf.co"};
}

absl::StatusOr<HostPolicy> HostPolicy::Create(const std::string& endpoint,
                                              std::vector<std::string> redirect_hosts) {
  HostPolicy policy;
  absl::StatusOr<Origin> hub = OriginOf(endpoint);
  if (!hub.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("HF_ENDPOINT ", std::string(hub.status().message())));
  }
  policy.hub_ = *std::move(hub);
  policy.defaults_ = redirect_hosts == DefaultRedirectHosts();
  for (std::string& host : redirect_hosts) {
    absl::AsciiStrToLower(&host);
    if (!IsHostPattern(host)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--redirect-hosts: '", host, "' is no host's name"));
    }
  }
  policy.redirect_hosts_ = std::move(redirect_hosts);
  return policy;
}

absl::Status HostPolicy::CheckRedirect(const std::string& url) const {
  const absl::StatusOr<Origin> origin = OriginOf(url);
  if (!origin.ok()) {
    return absl::PermissionDeniedError(
        absl::StrCat("a redirect ", std::string(origin.status().message())));
  }
  if (hub_.scheme == "https" && origin->scheme != "https") {
    return absl::PermissionDeniedError(
        absl::StrCat("a redirect to ", origin->Text(), ", which is not encrypted"));
  }
  const auto fits = [&](const std::string& pattern) { return Matches(pattern, origin->host); };
  if (IsHub(*origin) || std::ranges::any_of(redirect_hosts_, fits)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat("a redirect to ", origin->Text(),
                   ", which is not among --redirect-hosts=", absl::StrJoin(redirect_hosts_, ",")));
}

bool HostPolicy::MayBePrivate(const Origin& origin) const {
  return IsHub(origin) ||
         (!defaults_ && std::ranges::find(redirect_hosts_, origin.host) != redirect_hosts_.end());
}

}  // namespace kvasir::hub
