#include "services/hub/download.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/hub/file_lock.h"
#include "services/hub/partial_file.h"

namespace kvasir::hub {
namespace {

absl::StatusOr<bool> IsThere(const FilePlace& place, const Content& content,
                             const Cancellation& cancellation) {
  if (!place.named_by_content) return HasContent(place.destination, content, cancellation);
  std::error_code error;
  return std::filesystem::file_size(place.destination, error) ==
         static_cast<uintmax_t>(content.size);
}

// One file on its way.
class Transfer {
 public:
  Transfer(HttpSession& http, const RemoteFile& remote, const FilePlace& place,
           const AttemptLimits& limits, const Cancellation& cancellation, PullProgress& progress)
      : http_(http),
        remote_(remote),
        place_(place),
        limits_(limits),
        cancellation_(cancellation),
        progress_(progress) {}

  // What came in several pieces and is not right then comes once more. REQUIRES: the lock.
  absl::Status Run() {
    for (bool again = false;; again = true) {
      absl::StatusOr<PartialFile> file = PartialFile::Open(
          place_.incomplete, remote_.content, cancellation_, [this](int64_t more) {
            progress_.done += more;
            if (fetching_) progress_.received += std::max<int64_t>(more, 0);
          });
      if (!file.ok()) return file.status();
      bool in_one_piece = file->written() == 0;
      if (absl::Status fetched = FetchAll(*file, in_one_piece); !fetched.ok()) return fetched;
      const absl::Status finished = file->Finish(place_.destination);
      if (!absl::IsDataLoss(finished)) return finished;
      file->Discard();
      const std::string why = absl::StrCat(remote_.name, ": ", std::string(finished.message()));
      if (in_one_piece || again) return absl::DataLossError(why);
      progress_.tell(why + "; once more from the start");
    }
  }

 private:
  // Asks until the file is whole. A server that cuts off and knows no ranges never gets further.
  absl::Status FetchAll(PartialFile& file, bool& in_one_piece) {
    Attempts attempts(limits_, cancellation_, progress_.tell);
    int64_t furthest = file.written();
    while (!file.whole()) {
      fetching_ = true;
      const absl::Status fetched = HubClient::Fetch(http_, remote_, file);
      fetching_ = false;
      if (fetched.ok()) break;
      if (file.written() > furthest) attempts.Progress();
      furthest = std::max(furthest, file.written());
      in_one_piece = file.written() == 0;
      if (!attempts.Again(fetched)) {
        return cancellation_.cancelled() ? absl::CancelledError("interrupted") : fetched;
      }
    }
    return absl::OkStatus();
  }

  HttpSession& http_;
  const RemoteFile& remote_;
  const FilePlace& place_;
  const AttemptLimits& limits_;
  const Cancellation& cancellation_;
  PullProgress& progress_;
  bool fetching_ = false;
};

}  // namespace

absl::Status Download(HttpSession& http, const RemoteFile& remote, const FilePlace& place,
                      const AttemptLimits& limits, const Cancellation& cancellation,
                      PullProgress& progress) {
  // First without the lock: a cache that is whole may be one that cannot be written.
  absl::StatusOr<bool> there = IsThere(place, remote.content, cancellation);
  if (there.ok() && !*there) {
    const auto waiting = [&] {
      progress.tell(remote.name + ": another process fetches it; waiting");
    };
    absl::StatusOr<FileLock> lock = FileLock::Take(place.lock, cancellation, waiting);
    if (!lock.ok()) return lock.status();
    there = IsThere(place, remote.content, cancellation);
    if (there.ok() && !*there) {
      return Transfer(http, remote, place, limits, cancellation, progress).Run();
    }
  }
  if (there.ok()) progress.done += remote.content.size;
  return there.status();
}

}  // namespace kvasir::hub
