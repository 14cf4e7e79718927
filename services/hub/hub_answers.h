#ifndef KVASIR_SERVICES_HUB_HUB_ANSWERS_H_
#define KVASIR_SERVICES_HUB_HUB_ANSWERS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/hub/content_hash.h"
#include "services/hub/http_session.h"

namespace kvasir::hub {

// The files of a model at a commit.
struct ModelListing {
  std::string commit;
  std::vector<std::string> files;  // as the hub names them: may be paths, may be anything

  bool Has(std::string_view file) const;
};

// The body of /api/models/ORGANIZATION/NAME/revision/REVISION. INVALID_ARGUMENT names the field
// that is wrong.
absl::StatusOr<ModelListing> ParseModelListing(std::string_view json);

// "bytes FIRST-LAST/SIZE"; nothing where it is not of this form or contradicts itself.
struct ContentRange {
  int64_t first = 0, last = 0, size = 0;
};
std::optional<ContentRange> ParseContentRange(std::string_view header);

// What an answer to HEAD or a redirect says of the file: X-Linked-Size and X-Linked-Etag, which
// speak of a large file's content, else Content-Length and ETag.
std::optional<int64_t> SizeIn(const HttpAnswer& answer);
std::string EtagIn(const HttpAnswer& answer);

// How long an answer of 429 or 503 asks to wait: Retry-After, in seconds or as a date, or the hub's
// RateLimit ("api";r=0;t=55). Nothing where it does not say, zero for a time that has passed.
std::optional<absl::Duration> RetryAfterIn(const HttpAnswer& answer, absl::Time now);

// What somebody else has written, short and harmless to a terminal.
std::string Harmless(std::string_view text);

// An answer that is not 2xx as an error about `what`; UNAVAILABLE where asking again may help, with
// RetryAfterOf. The hub's own words are told.
absl::Status StatusOfAnswer(const HttpAnswer& answer, const std::string& what);
std::optional<absl::Duration> RetryAfterOf(const absl::Status& status);

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_HUB_ANSWERS_H_
