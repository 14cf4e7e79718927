#include "services/hub/attempts.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "services/hub/hub_answers.h"

namespace kvasir::hub {

bool Attempts::Again(const absl::Status& failure) {
  if (!absl::IsUnavailable(failure) || ++failures_ >= limits_.attempts) return false;
  absl::Duration wait = std::min(limits_.first_wait * (1 << (failures_ - 1)), limits_.longest_wait);
  if (const std::optional<absl::Duration> asked = RetryAfterOf(failure)) {
    if (*asked > limits_.longest_retry_after) return false;
    wait = *asked;
  }
  tell_(absl::StrCat(std::string(failure.message()), "; again in ", absl::FormatDuration(wait)));
  return !cancellation_.WaitFor(wait);
}

}  // namespace kvasir::hub
