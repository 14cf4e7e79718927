// Any bytes as what a hub answers: a list of files, headers, the address of a redirect; and as what
// a user calls a model. What is accepted is safe to go on with.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "engine/check.h"
#include "services/hub/host_policy.h"
#include "services/hub/hub_answers.h"
#include "services/hub/model_id.h"

namespace {

namespace hub = kvasir::hub;

void ReadHeaders(const std::string& text) {
  const auto hash = hub::ContentHashFromEtag(text);
  KVASIR_CHECK(!hash.has_value() || hub::IsHex(hash->hex, hash->is_sha256() ? 64 : 40));
  const auto range = hub::ParseContentRange(text);
  KVASIR_CHECK(!range.has_value() ||
               (0 <= range->first && range->first <= range->last && range->last < range->size));
  for (const char* name : {"retry-after", "ratelimit", "x-linked-size", "x-error-message"}) {
    const hub::HttpAnswer answer = {.code = 429, .headers = {{name, text}}};
    const auto wait = hub::RetryAfterIn(answer, absl::FromUnixSeconds(1'000'000'000));
    KVASIR_CHECK(!wait.has_value() || *wait >= absl::ZeroDuration());
    KVASIR_CHECK(hub::SizeIn(answer).value_or(0) >= 0);
    const absl::Status status = hub::StatusOfAnswer(answer, "x");
    for (const char c : status.message()) KVASIR_CHECK(c < 0 || c >= ' ');
  }
}

void ReadRedirect(const std::string& url) {
  static const hub::HostPolicy policy =
      *hub::HostPolicy::Create("https://huggingface.co", hub::DefaultRedirectHosts());
  if (!policy.CheckRedirect(url).ok()) return;
  const auto origin = hub::OriginOf(url);
  KVASIR_CHECK(origin.ok() && origin->scheme == "https");
  const std::string_view host = origin->host;
  KVASIR_CHECK(host == "huggingface.co" || host == "hf.co" || host.ends_with(".hf.co") ||
               (host.starts_with("cdn-lfs") && host.ends_with(".huggingface.co")));
}

void ReadNames(const std::string& text) {
  const auto stays = [](const std::string& path) {
    return std::filesystem::path(path).lexically_normal() == path && path.front() != '/' &&
           path != ".." && !path.starts_with("../");
  };
  if (const auto id = hub::ParseModelId(text); id.ok()) KVASIR_CHECK(stays(id->Text()));
  if (hub::CheckRevision(text).ok()) KVASIR_CHECK(stays(text));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  if (const auto listing = hub::ParseModelListing(bytes); listing.ok()) {
    KVASIR_CHECK(hub::IsCommit(listing->commit));
  }
  ReadHeaders(bytes);
  ReadRedirect(bytes);
  ReadNames(bytes);
  return 0;
}
