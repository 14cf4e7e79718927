#include "services/hub/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace kvasir::hub {
namespace {

constexpr absl::Duration kLookAgain = absl::Milliseconds(100);
constexpr mode_t kForTheGroup = 0664;  // who shares the cache shares its locks

absl::Status Failed(const std::filesystem::path& path, int error) {
  return absl::FailedPreconditionError(
      absl::StrCat("cannot lock ", path.string(), ": ", std::strerror(error)));
}

}  // namespace

absl::StatusOr<FileLock> FileLock::Take(const std::filesystem::path& path,
                                        const Cancellation& cancellation,
                                        const std::function<void()>& waiting) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) return Failed(path, error.value());
  FileLock lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kForTheGroup));
  if (lock.fd_ < 0) return Failed(path, errno);
  for (bool first = true; flock(lock.fd_, LOCK_EX | LOCK_NB) != 0; first = false) {
    if (errno != EWOULDBLOCK && errno != EINTR) return Failed(path, errno);
    if (first) waiting();
    if (cancellation.WaitFor(kLookAgain)) return absl::CancelledError("interrupted");
  }
  return lock;
}

FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace kvasir::hub
