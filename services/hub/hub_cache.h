#ifndef KVASIR_SERVICES_HUB_HUB_CACHE_H_
#define KVASIR_SERVICES_HUB_HUB_CACHE_H_

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "services/hub/model_id.h"

namespace kvasir::hub {

// Where a file goes, where it grows until it is whole, and the lock of whoever writes it.
struct FilePlace {
  std::filesystem::path destination, incomplete, lock;
  // Whether the path names the content: then what is there in the right size is the right file.
  bool named_by_content = false;
};

// Models on disk, in the layout of the Python library huggingface_hub, which finds what is put here
// and puts what is found here:
//   models--ORGANIZATION--NAME/blobs/HASH               contents, HASH.incomplete while they grow
//   models--ORGANIZATION--NAME/snapshots/COMMIT/FILE    -> ../../blobs/HASH
//   models--ORGANIZATION--NAME/refs/REVISION            the commit that a branch or tag meant
//   .locks/models--ORGANIZATION--NAME/HASH.lock         flock(2)
class HubCache {
 public:
  explicit HubCache(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }

  // `hash`: as the hub's ETag gives it. REQUIRES: hexadecimal.
  FilePlace PlaceOf(const ModelId& id, const std::string& hash) const;
  std::filesystem::path SnapshotPath(const ModelId& id, const std::string& commit) const;
  // The commit that `revision` means here; nothing where it was never pulled. Whether its snapshot
  // is whole is another question. REQUIRES: CheckRevision(revision).ok().
  std::optional<std::string> FindCommit(const ModelId& id, const std::string& revision) const;

  // Lets the snapshot's `file`, a plain name, be the content `hash`.
  absl::Status Link(const ModelId& id, const std::string& commit, const std::string& file,
                    const std::string& hash) const;
  // Lets `revision` mean `commit`, at once for every reader.
  absl::Status WriteRef(const ModelId& id, const std::string& revision,
                        const std::string& commit) const;

  // The model of a snapshot in a cache, any cache; nothing where the path is none.
  static std::optional<ModelId> ModelOfSnapshot(const std::filesystem::path& path);

 private:
  std::filesystem::path ModelPath(const ModelId& id) const;

  std::filesystem::path root_;
};

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_HUB_CACHE_H_
