#include "services/hub/hub_client.h"

#include <curl/curl.h>

#include <optional>

#include "absl/strings/str_cat.h"

namespace kvasir::hub {
namespace {

constexpr size_t kMaxListing = 16 << 20;
constexpr absl::Duration kSmallAnswer = absl::Minutes(1);  // for all of one

std::string Escaped(const std::string& text) {
  char* escaped = curl_easy_escape(nullptr, text.c_str(), static_cast<int>(text.size()));
  std::string copy = escaped;
  curl_free(escaped);
  return copy;
}

absl::Status IsAnother(const RemoteFile& remote, const std::string& etag) {
  return absl::DataLossError(absl::StrCat(remote.name, " is another file on the hub than a moment ",
                                          "ago: ", etag, " in place of ", remote.content.hash.hex));
}

// Whether the answer is about the file that was described; one that says nothing is believed, the
// content's hash will tell.
absl::Status CheckSame(const HttpAnswer& answer, const RemoteFile& remote) {
  const std::optional<ContentHash> hash = ContentHashFromEtag(EtagIn(answer));
  if (!hash.has_value() || *hash == remote.content.hash) return absl::OkStatus();
  return IsAnother(remote, hash->hex);
}

// Then it is asked for all of it.
absl::Status NoSuchRange(const HttpAnswer& answer, const RemoteFile& remote) {
  return absl::UnavailableError(
      absl::StrCat(remote.name, ": ", answer.origin.Text(), " does not send the part asked for"));
}

// What an answer of 200 or 206 brings, before it does.
absl::Status PrepareFor(const HttpAnswer& answer, const RemoteFile& remote, bool redirected,
                        PartialFile& file) {
  if (!redirected) {  // a content server's own ETag means nothing here
    if (absl::Status same = CheckSame(answer, remote); !same.ok()) return same;
  }
  if (answer.code == 206) {
    const auto range = ParseContentRange(answer.Header("content-range"));
    if (range.has_value() && range->first == file.written() && range->size == remote.content.size) {
      return absl::OkStatus();
    }
    file.Restart();
    return NoSuchRange(answer, remote);
  }
  if (file.written() > 0) file.Restart();  // it knows no ranges
  const std::optional<int64_t> size = SizeIn(answer);
  if (!size.has_value() || *size == remote.content.size) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(remote.name, ": ", answer.origin.Text(), " sends ", *size,
                                          " bytes, and the hub says ", remote.content.size));
}

}  // namespace

absl::StatusOr<ModelListing> HubClient::List(HttpSession& http, const std::string& revision) const {
  const std::string what = absl::StrCat(id_.Text(), " at ", revision);
  std::string body;
  HttpExchange exchange;
  exchange.url =
      absl::StrCat(endpoint_, "/api/models/", id_.Text(), "/revision/", Escaped(revision));
  exchange.time_limit = kSmallAnswer;
  exchange.on_body = [&](std::string_view piece) -> absl::Status {
    body += piece;
    if (body.size() <= kMaxListing) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(what, ": its list of files is longer than ", kMaxListing, " bytes"));
  };
  const absl::StatusOr<HttpAnswer> answer = http.Run(exchange);
  if (!answer.ok()) return answer.status();
  if (answer->code != 200) return StatusOfAnswer(*answer, what);
  absl::StatusOr<ModelListing> listing = ParseModelListing(body);
  if (listing.ok()) return listing;
  return absl::FailedPreconditionError(
      absl::StrCat(answer->origin.Text(), " is no hub: ", what, ": ",
                   Harmless(std::string(listing.status().message()))));
}

absl::StatusOr<RemoteFile> HubClient::Describe(HttpSession& http, const std::string& commit,
                                               const std::string& name) const {
  RemoteFile file = {
      .name = name,
      .url = absl::StrCat(endpoint_, "/", id_.Text(), "/resolve/", commit, "/", Escaped(name))};
  HttpExchange exchange;
  exchange.url = file.url;
  exchange.head = true;
  exchange.time_limit = kSmallAnswer;
  exchange.on_redirect = [](const HttpAnswer& answer) -> absl::StatusOr<bool> {
    return answer.Header("x-linked-etag").empty();
  };
  const absl::StatusOr<HttpAnswer> answer = http.Run(exchange);
  if (!answer.ok()) return answer.status();
  if (answer->code != 200 && answer->redirect.empty()) return StatusOfAnswer(*answer, name);
  const std::string at = answer->Header("x-repo-commit");
  if (!at.empty() && at != commit) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, ": asked for commit ", commit, ", the hub answers with another one"));
  }
  const std::optional<ContentHash> hash = ContentHashFromEtag(EtagIn(*answer));
  const std::optional<int64_t> size = SizeIn(*answer);
  if (!hash.has_value() || !size.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, ": ", answer->origin.Text(), " gives no ",
                     hash.has_value() ? "size" : "hash", " to check it against"));
  }
  file.content = {*size, *hash};
  return file;
}

absl::Status HubClient::Fetch(HttpSession& http, const RemoteFile& remote, PartialFile& file) {
  bool redirected = false;
  HttpExchange exchange;
  exchange.url = remote.url;
  exchange.offset = file.written();
  exchange.on_redirect = [&](const HttpAnswer& answer) -> absl::StatusOr<bool> {
    redirected = true;
    if (absl::Status same = CheckSame(answer, remote); !same.ok()) return same;
    return true;
  };
  exchange.on_success = [&](const HttpAnswer& answer) {
    return PrepareFor(answer, remote, redirected, file);
  };
  exchange.on_body = [&](std::string_view piece) -> absl::Status {
    absl::Status appended = file.Append(piece);
    if (appended.ok()) return appended;
    return absl::Status(appended.code(),
                        absl::StrCat(remote.name, ": ", std::string(appended.message())));
  };
  const absl::StatusOr<HttpAnswer> answer = http.Run(exchange);
  if (!answer.ok()) return answer.status();
  if (answer->code == 416) {
    file.Restart();
    return NoSuchRange(*answer, remote);
  }
  if (answer->code != 200 && answer->code != 206) return StatusOfAnswer(*answer, remote.name);
  if (file.whole()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(remote.name, ": ", answer->origin.Text(),
                                             " ends after ", file.written(), " of ",
                                             remote.content.size, " bytes"));
}

}  // namespace kvasir::hub
