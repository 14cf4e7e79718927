#ifndef KVASIR_SERVICES_HUB_FILE_LOCK_H_
#define KVASIR_SERVICES_HUB_FILE_LOCK_H_

#include <filesystem>
#include <functional>
#include <utility>

#include "absl/status/statusor.h"
#include "services/hub/cancellation.h"

namespace kvasir::hub {

// flock(2) on a file that exists for it alone and stays, as huggingface_hub takes it. Given up with
// the object, and with the process.
class FileLock {
 public:
  // Waits for whoever has it; `waiting` is called once where that is somebody.
  static absl::StatusOr<FileLock> Take(const std::filesystem::path& path,
                                       const Cancellation& cancellation,
                                       const std::function<void()>& waiting);
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}

  int fd_;
};

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_FILE_LOCK_H_
