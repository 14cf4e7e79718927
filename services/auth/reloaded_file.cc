#include "services/auth/reloaded_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace kvasir {
namespace {

constexpr int64_t kMaxBytes = 16 << 20;

int64_t Nanoseconds(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

FileState StateOf(const std::string& path) {
  struct stat found = {};
  if (stat(path.c_str(), &found) != 0) return {};
  return {.device = found.st_dev,
          .inode = found.st_ino,
          .size = found.st_size,
          .modified = Nanoseconds(found.st_mtim),
          .changed = Nanoseconds(found.st_ctim)};
}

absl::StatusOr<std::string> ReadFile(const std::string& path, FileState& state) {
  state = StateOf(path);  // before: what comes between is seen as a change
  if (state.size > kMaxBytes) {
    return absl::InvalidArgumentError(path + ": " + std::to_string(state.size) +
                                      " bytes are over " + std::to_string(kMaxBytes));
  }
  std::ifstream stream(path, std::ios::binary);
  std::string content(static_cast<size_t>(state.size), '\0');
  stream.read(content.data(), state.size);
  if (!stream) {
    return absl::InvalidArgumentError(path + ": cannot be read: " + std::strerror(errno));
  }
  return content;
}

}  // namespace kvasir
