#include "services/hub/hub_cache.h"

#include <unistd.h>

#include <atomic>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace kvasir::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kModels = "models--", kSeparator = "--";

std::string FolderName(const ModelId& id) {
  return absl::StrCat("models--", id.organization, "--", id.name);
}

absl::Status CannotWrite(const fs::path& path, const std::error_code& error) {
  return absl::FailedPreconditionError(
      absl::StrCat("cannot write ", path.string(), ": ", error.message()));
}

// A name beside `path` that nobody else uses.
fs::path Beside(const fs::path& path) {
  static std::atomic<int> number = 0;
  return absl::StrCat(path.string(), ".", getpid(), ".", number++, ".tmp");
}

}  // namespace

fs::path HubCache::ModelPath(const ModelId& id) const { return root_ / FolderName(id); }

FilePlace HubCache::PlaceOf(const ModelId& id, const std::string& hash) const {
  const fs::path blobs = ModelPath(id) / "blobs";
  return {.destination = blobs / hash,
          .incomplete = blobs / (hash + ".incomplete"),
          .lock = root_ / ".locks" / FolderName(id) / (hash + ".lock"),
          .named_by_content = true};
}

fs::path HubCache::SnapshotPath(const ModelId& id, const std::string& commit) const {
  return ModelPath(id) / "snapshots" / commit;
}

std::optional<std::string> HubCache::FindCommit(const ModelId& id,
                                                const std::string& revision) const {
  std::string commit = revision;
  if (!IsCommit(revision)) {
    std::ifstream file(ModelPath(id) / "refs" / revision);
    if (!(file >> commit) || !IsCommit(commit)) return std::nullopt;
  }
  std::error_code error;
  if (!fs::is_directory(SnapshotPath(id, commit), error)) return std::nullopt;
  return commit;
}

absl::Status HubCache::Link(const ModelId& id, const std::string& commit, const std::string& file,
                            const std::string& hash) const {
  const fs::path snapshot = SnapshotPath(id, commit), link = snapshot / file;
  const fs::path target = fs::path("../../blobs") / hash;
  std::error_code error;
  if (fs::read_symlink(link, error) == target) return absl::OkStatus();
  fs::create_directories(snapshot, error);
  if (error) return CannotWrite(snapshot, error);
  // Over what another version of the file may have left, and never without any.
  const fs::path fresh = Beside(link);
  fs::create_symlink(target, fresh, error);
  if (error) return CannotWrite(link, error);
  fs::rename(fresh, link, error);
  if (error) return CannotWrite(link, error);
  return absl::OkStatus();
}

absl::Status HubCache::WriteRef(const ModelId& id, const std::string& revision,
                                const std::string& commit) const {
  if (revision == commit || FindCommit(id, revision) == commit) return absl::OkStatus();
  const fs::path path = ModelPath(id) / "refs" / revision;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) return CannotWrite(path, error);
  const fs::path fresh = Beside(path);
  std::ofstream file(fresh);
  file << commit;
  file.close();
  if (!file) return CannotWrite(path, std::error_code(errno, std::generic_category()));
  fs::rename(fresh, path, error);
  if (error) return CannotWrite(path, error);
  return absl::OkStatus();
}

std::optional<ModelId> HubCache::ModelOfSnapshot(const fs::path& path) {
  std::error_code error;
  const fs::path whole = (fs::absolute(path, error) / "").lexically_normal().parent_path();
  const std::string folder = whole.parent_path().parent_path().filename().string();
  if (whole.parent_path().filename() != "snapshots" || !folder.starts_with(kModels)) {
    return std::nullopt;
  }
  const size_t end = folder.find(kSeparator, kModels.size());
  if (end == std::string::npos) return std::nullopt;
  const std::string organization = folder.substr(kModels.size(), end - kModels.size());
  absl::StatusOr<ModelId> id =
      ParseModelId(absl::StrCat(organization, "/", folder.substr(end + kSeparator.size())));
  if (!id.ok()) return std::nullopt;
  return *std::move(id);
}

}  // namespace kvasir::hub
