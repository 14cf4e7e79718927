#include "services/hub/partial_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kvasir::hub {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBuffer = 1 << 20;

absl::Status ReadError(const fs::path& path, int error) {
  return absl::FailedPreconditionError(
      absl::StrCat("cannot read ", path.string(), ": ", std::strerror(error)));
}

}  // namespace

absl::StatusOr<bool> HasContent(const fs::path& path, const Content& content,
                                const Cancellation& cancellation) {
  std::error_code error;
  if (!fs::is_regular_file(path, error) ||
      fs::file_size(path, error) != static_cast<uintmax_t>(content.size)) {
    return false;
  }
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ReadError(path, errno);
  ContentHasher hasher(content.hash, content.size);
  const auto buffer = std::make_unique<char[]>(kBuffer);
  ssize_t got = 0;
  while (!cancellation.cancelled() && (got = read(fd, buffer.get(), kBuffer)) > 0) {
    hasher.Update({buffer.get(), static_cast<size_t>(got)});
  }
  const int read_error = errno;
  close(fd);
  if (cancellation.cancelled()) return absl::CancelledError("interrupted");
  if (got < 0) return ReadError(path, read_error);
  return hasher.Finish() == content.hash;
}

PartialFile::PartialFile(int fd, fs::path path, Content content, Progress progress)
    : fd_(fd),
      path_(std::move(path)),
      content_(std::move(content)),
      progress_(std::move(progress)),
      hasher_(content_.hash, content_.size) {}

PartialFile::PartialFile(PartialFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      content_(std::move(other.content_)),
      progress_(std::move(other.progress_)),
      hasher_(std::move(other.hasher_)),
      written_(other.written_) {}

PartialFile::~PartialFile() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<PartialFile> PartialFile::Open(const fs::path& path, const Content& content,
                                              const Cancellation& cancellation, Progress progress) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  PartialFile file(fd, path, content, std::move(progress));
  struct stat found = {};
  if (fd < 0 || fstat(fd, &found) != 0) return file.Failed(errno);
  if (found.st_size > content.size) {  // of something else
    if (ftruncate(fd, 0) != 0) return file.Failed(errno);
    found.st_size = 0;
  }
  if (absl::Status status = file.ReadBeginning(found.st_size, cancellation); !status.ok()) {
    return status;
  }
  return file;
}

absl::Status PartialFile::ReadBeginning(int64_t size, const Cancellation& cancellation) {
  const auto buffer = std::make_unique<char[]>(kBuffer);
  while (written_ < size) {
    if (cancellation.cancelled()) return absl::CancelledError("interrupted");
    const auto wanted = static_cast<size_t>(std::min<int64_t>(size - written_, kBuffer));
    const ssize_t got = pread(fd_, buffer.get(), wanted, written_);
    if (got <= 0) return ReadError(path_, got < 0 ? errno : EIO);
    hasher_.Update({buffer.get(), static_cast<size_t>(got)});
    written_ += got;
    progress_(got);
  }
  return absl::OkStatus();
}

absl::Status PartialFile::Failed(int error) const {
  const std::string why = absl::StrCat("cannot write ", path_.string(), ": ", std::strerror(error));
  if (error != ENOSPC && error != EDQUOT && error != EFBIG) {
    return absl::FailedPreconditionError(why);
  }
  return absl::ResourceExhaustedError(
      absl::StrCat(why, " (", written_, " of ", content_.size, " bytes are there, and stay)"));
}

absl::Status PartialFile::Append(std::string_view bytes) {
  if (static_cast<int64_t>(bytes.size()) > content_.size - written_) {
    return absl::DataLossError(
        absl::StrCat("there is more of it than the ", content_.size, " bytes that the hub says"));
  }
  while (!bytes.empty()) {
    const ssize_t put = pwrite(fd_, bytes.data(), bytes.size(), written_);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Failed(errno);
    hasher_.Update(bytes.substr(0, static_cast<size_t>(put)));
    bytes.remove_prefix(static_cast<size_t>(put));
    written_ += put;
    progress_(put);
  }
  return absl::OkStatus();
}

void PartialFile::Restart() {
  progress_(-written_);
  written_ = 0;
  hasher_ = ContentHasher(content_.hash, content_.size);
}

absl::Status PartialFile::Finish(const fs::path& destination) {
  if (const ContentHash hash = hasher_.Finish(); hash != content_.hash) {
    return absl::DataLossError(
        absl::StrCat(content_.hash.is_sha256() ? "its SHA-256" : "its blob's SHA-1", " is ",
                     hash.hex, ", and the hub says ", content_.hash.hex));
  }
  if (fdatasync(fd_) != 0) return Failed(errno);
  std::error_code error, looking;
  fs::create_directories(destination.parent_path(), error);
  fs::rename(path_, destination, error);
  // Somebody else may have had the same content whole a moment before.
  if (error && !(error.value() == ENOENT && fs::exists(destination, looking))) {
    return Failed(error.value());
  }
  return absl::OkStatus();
}

void PartialFile::Discard() {
  progress_(-written_);
  written_ = 0;
  std::error_code gone;
  fs::remove(path_, gone);
}

}  // namespace kvasir::hub
