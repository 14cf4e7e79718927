#ifndef KVASIR_SERVICES_AUTH_RELOADED_FILE_H_
#define KVASIR_SERVICES_AUTH_RELOADED_FILE_H_

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvasir {

// What tells one state of a file from another.
struct FileState {
  uint64_t device = 0, inode = 0;
  int64_t size = 0, modified = 0, changed = 0;  // the times in nanoseconds
  bool operator==(const FileState&) const = default;
};

// The content, up to 16 MiB. INVALID_ARGUMENT naming the path, never the content. `state`: of what
// was read, also where it could not be.
absl::StatusOr<std::string> ReadFile(const std::string& path, FileState& state);
FileState StateOf(const std::string& path);

// A file's content, parsed; read anew when it has changed, which is looked at with the first use in
// a second. Where the new content is no good, what was there before stands. Thread-safe.
template <typename T>
class ReloadedFile {
 public:
  // Errors do not tell what the content is.
  using Parse = std::function<absl::StatusOr<T>(std::string_view content)>;
  // Told what became of a change, in a line for the operator; `ok`: it is in force.
  using Tell = std::function<void(bool ok, const std::string& line)>;

  static absl::StatusOr<std::unique_ptr<ReloadedFile>> Open(std::string path, Parse parse,
                                                            Tell tell) {
    std::unique_ptr<ReloadedFile> file(
        new ReloadedFile(std::move(path), std::move(parse), std::move(tell)));
    if (absl::Status read = file->Read(); !read.ok()) return read;
    return file;
  }

  std::shared_ptr<const T> Get() {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (now >= next_look_) {
      next_look_ = now + std::chrono::seconds(1);
      if (StateOf(path_) != state_) {
        const absl::Status read = Read();
        tell_(read.ok(), read.ok() ? path_ + " has changed and was read anew"
                                   : std::string(read.message()) + "; what it was before stands");
      }
    }
    return content_;
  }

 private:
  ReloadedFile(std::string path, Parse parse, Tell tell)
      : path_(std::move(path)), parse_(std::move(parse)), tell_(std::move(tell)) {}

  absl::Status Read() {
    const absl::StatusOr<std::string> text = ReadFile(path_, state_);
    if (!text.ok()) return text.status();
    absl::StatusOr<T> parsed = parse_(*text);
    if (!parsed.ok()) {
      return absl::InvalidArgumentError(path_ + ": " + std::string(parsed.status().message()));
    }
    content_ = std::make_shared<const T>(*std::move(parsed));
    return absl::OkStatus();
  }

  const std::string path_;
  const Parse parse_;
  const Tell tell_;
  std::mutex mutex_;
  // guarded by mutex_
  FileState state_;
  std::shared_ptr<const T> content_;
  std::chrono::steady_clock::time_point next_look_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_AUTH_RELOADED_FILE_H_
