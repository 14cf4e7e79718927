#ifndef KVASIR_SERVICES_HUB_PARTIAL_FILE_H_
#define KVASIR_SERVICES_HUB_PARTIAL_FILE_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/hub/cancellation.h"
#include "services/hub/content_hash.h"

namespace kvasir::hub {

// What a file's content has to be.
struct Content {
  int64_t size = 0;
  ContentHash hash;
};

// Whether the file at `path` is that content: size first, then all of it is read.
absl::StatusOr<bool> HasContent(const std::filesystem::path& path, const Content& content,
                                const Cancellation& cancellation);

// A file on its way: on disk is a beginning of it, which grows until size and hash are right. Bytes
// are written where they belong and nothing is ever cut off, so that even two processes that write
// the same content at once, where a file system knows no locks, get it.
class PartialFile {
 public:
  // Called with how many bytes of the file there are more, or less.
  using Progress = std::function<void(int64_t)>;

  // Begins with what an earlier attempt left at `path`, which is read for its hash.
  static absl::StatusOr<PartialFile> Open(const std::filesystem::path& path, const Content& content,
                                          const Cancellation& cancellation, Progress progress);
  PartialFile(PartialFile&& other) noexcept;
  PartialFile& operator=(PartialFile&&) = delete;
  ~PartialFile();

  int64_t written() const { return written_; }
  bool whole() const { return written_ == content_.size; }

  // DATA_LOSS where it would be longer than it should be; RESOURCE_EXHAUSTED where the disk is
  // full.
  absl::Status Append(std::string_view bytes);
  // From the start again, over what is there.
  void Restart();
  // Looks at the hash, writes all through to the disk, and renames to `destination`. DATA_LOSS
  // where the hash is another one. REQUIRES: whole(). To be called once.
  absl::Status Finish(const std::filesystem::path& destination);
  // Forgets what there is.
  void Discard();

 private:
  PartialFile(int fd, std::filesystem::path path, Content content, Progress progress);

  absl::Status ReadBeginning(int64_t size, const Cancellation& cancellation);
  absl::Status Failed(int error) const;

  int fd_;
  std::filesystem::path path_;
  Content content_;
  Progress progress_;
  ContentHasher hasher_;
  int64_t written_ = 0;
};

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_PARTIAL_FILE_H_
