#include "services/hub/pull.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/model/config.h"
#include "engine/model/shard_index.h"
#include "services/hub/hub_cache.h"
#include "services/hub/hub_client.h"
#include "services/hub/model_folder.h"

namespace kvasir::hub {
namespace {

namespace fs = std::filesystem;

constexpr size_t kParallel = 8;
constexpr char kConfig[] = "config.json", kWeights[] = "model.safetensors";
// Read where they are there.
constexpr const char* kOptional[] = {"generation_config.json", "tokenizer.json",
                                     "tokenizer_config.json", "chat_template.jinja"};

class Puller {
 public:
  Puller(const PullOptions& options, HostPolicy hosts, Cancellation& cancellation,
         PullProgress& progress)
      : options_(options),
        hosts_(std::move(hosts)),
        cancellation_(cancellation),
        progress_(progress),
        cache_(options.hub.cache),
        client_(options.hub.endpoint, options.id) {}

  absl::StatusOr<PulledModel> Run();

 private:
  using Work = std::function<absl::Status(HttpSession&, size_t)>;

  // The folder that the revision is in, if it has what these need.
  std::optional<fs::path> WhatIsThere(std::initializer_list<ModelUse> uses) const;
  absl::StatusOr<ModelListing> List();
  absl::StatusOr<PulledModel> WithoutHub(const absl::Status& why) const;

  // These files of the commit, to their places.
  absl::Status Bring(const std::string& commit, const std::vector<std::string>& names);
  absl::StatusOr<RemoteFile> Describe(HttpSession& http, const std::string& commit,
                                      const std::string& name);
  absl::Status CheckRoom(const std::vector<RemoteFile>& files) const;
  absl::StatusOr<std::vector<std::string>> WeightFiles(const ModelListing& listing) const;
  absl::Status CheckServable() const;
  absl::Status Publish(const std::string& commit) const;

  FilePlace PlaceOf(const RemoteFile& file) const;
  // Where one of those that were brought is.
  fs::path PathOf(const std::string& name) const;

  // Calls work(session, i) for each i < count; the first error ends the others.
  absl::Status InParallel(size_t count, const Work& work);

  const PullOptions& options_;
  const HostPolicy hosts_;
  Cancellation& cancellation_;
  PullProgress& progress_;
  const HubCache cache_;
  const HubClient client_;
  std::vector<std::unique_ptr<HttpSession>> sessions_;  // one a thread, with its connections
  std::vector<RemoteFile> brought_;
};

std::optional<fs::path> Puller::WhatIsThere(std::initializer_list<ModelUse> uses) const {
  fs::path folder;
  if (options_.folder.has_value()) {
    folder = *options_.folder;
  } else {
    const auto commit = cache_.FindCommit(options_.id, options_.revision);
    if (!commit.has_value()) return std::nullopt;
    folder = cache_.SnapshotPath(options_.id, *commit);
  }
  for (const ModelUse use : uses) {
    if (!MissingFile(folder, use).empty()) return std::nullopt;
  }
  return folder;
}

absl::StatusOr<PulledModel> Puller::WithoutHub(const absl::Status& why) const {
  if (const std::optional<fs::path> there = WhatIsThere({ModelUse::kGenerate})) {
    progress_.tell(absl::StrCat(std::string(why.message()), "; what was pulled before is there"));
    return PulledModel{*there};
  }
  const fs::path where = options_.folder.value_or(cache_.root());
  return absl::Status(why.code(),
                      absl::StrCat(std::string(why.message()), ", and ", options_.id.Text(), " at ",
                                   options_.revision, " is not whole in ", where.string()));
}

absl::StatusOr<ModelListing> Puller::List() {
  Attempts attempts(options_.attempts, cancellation_, progress_.tell);
  absl::StatusOr<ModelListing> listing;
  const absl::Status status = InParallel(1, [&](HttpSession& http, size_t) {
    do {
      listing = client_.List(http, options_.revision);
    } while (!listing.ok() && attempts.Again(listing.status()));
    return cancellation_.cancelled() ? absl::CancelledError("interrupted") : absl::OkStatus();
  });
  if (!status.ok()) return status;
  return listing;
}

absl::StatusOr<PulledModel> Puller::Run() {
  if (IsCommit(options_.revision) && !options_.folder.has_value()) {
    const auto there = WhatIsThere({ModelUse::kGenerate, ModelUse::kTokenize});
    if (there.has_value()) return PulledModel{*there};
  }
  if (options_.hub.offline) return WithoutHub(absl::UnavailableError("HF_HUB_OFFLINE is set"));
  absl::StatusOr<ModelListing> listing = List();
  if (absl::IsUnavailable(listing.status())) return WithoutHub(listing.status());
  if (!listing.ok()) return listing.status();

  std::vector<std::string> names = {kConfig};
  std::ranges::copy_if(kOptional, std::back_inserter(names),
                       [&](const char* name) { return listing->Has(name); });
  const bool sharded = !listing->Has(kWeights);
  if (sharded) names.emplace_back(kShardIndexFile);
  for (const char* needed : {kConfig, sharded ? kShardIndexFile : kWeights}) {
    if (!listing->Has(needed)) {
      return absl::NotFoundError(absl::StrCat(
          options_.id.Text(), " at ", options_.revision, " has no ", needed,
          needed == std::string_view(kShardIndexFile) ? absl::StrCat(" and no ", kWeights) : "",
          ": no model that Kvasir can serve"));
    }
  }
  if (absl::Status status = Bring(listing->commit, names); !status.ok()) return status;
  if (absl::Status status = CheckServable(); !status.ok()) return status;
  const absl::StatusOr<std::vector<std::string>> weights = WeightFiles(*listing);
  if (!weights.ok()) return weights.status();
  if (absl::Status status = Bring(listing->commit, *weights); !status.ok()) return status;
  if (absl::Status status = Publish(listing->commit); !status.ok()) return status;
  return PulledModel{options_.folder.value_or(cache_.SnapshotPath(options_.id, listing->commit)),
                     static_cast<int>(brought_.size())};
}

absl::Status Puller::Bring(const std::string& commit, const std::vector<std::string>& names) {
  std::vector<RemoteFile> files(names.size());
  absl::Status status = InParallel(names.size(), [&](HttpSession& http, size_t i) -> absl::Status {
    absl::StatusOr<RemoteFile> file = Describe(http, commit, names[i]);
    if (!file.ok()) return file.status();
    files[i] = *std::move(file);
    return absl::OkStatus();
  });
  if (status.ok()) status = CheckRoom(files);
  if (!status.ok()) return status;
  for (const RemoteFile& file : files) progress_.total += file.content.size;
  // Equal contents are one blob, and one download.
  status = InParallel(files.size(), [&](HttpSession& http, size_t i) {
    return Download(http, files[i], PlaceOf(files[i]), options_.attempts, cancellation_, progress_);
  });
  brought_.insert(brought_.end(), files.begin(), files.end());
  return status;
}

absl::StatusOr<RemoteFile> Puller::Describe(HttpSession& http, const std::string& commit,
                                            const std::string& name) {
  Attempts attempts(options_.attempts, cancellation_, progress_.tell);
  absl::StatusOr<RemoteFile> file;
  do {
    file = client_.Describe(http, commit, name);
  } while (!file.ok() && attempts.Again(file.status()));
  return file;
}

// Better now than after an hour.
absl::Status Puller::CheckRoom(const std::vector<RemoteFile>& files) const {
  const fs::path folder = options_.folder.value_or(cache_.root());
  std::error_code error;
  fs::create_directories(folder, error);
  const fs::space_info space = fs::space(folder, error);
  if (error) return absl::OkStatus();  // writing will tell
  uint64_t wanted = 0;
  for (const RemoteFile& file : files) {
    const FilePlace place = PlaceOf(file);
    uintmax_t there = 0;
    for (const fs::path& path : {place.destination, place.incomplete}) {
      const uintmax_t size = fs::file_size(path, error);
      if (!error) there = std::max(there, size);
    }
    wanted +=
        static_cast<uintmax_t>(file.content.size) - std::min<uintmax_t>(there, file.content.size);
  }
  if (wanted <= space.available) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("%.1f GB are to come, and there is room for %.1f GB in %s", 1e-9 * wanted,
                      1e-9 * space.available, folder.string()));
}

absl::StatusOr<std::vector<std::string>> Puller::WeightFiles(const ModelListing& listing) const {
  if (listing.Has(kWeights)) return std::vector<std::string>{kWeights};
  const absl::StatusOr<std::string> text = ReadFile(PathOf(kShardIndexFile));
  if (!text.ok()) return text.status();
  const auto index = ParseShardIndex(*text);
  if (!index.ok()) {
    return absl::FailedPreconditionError(Harmless(std::string(index.status().message())));
  }
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : *index) {
    if (!listing.Has(shard) || Harmless(shard) != shard) {
      return absl::NotFoundError(absl::StrCat(kShardIndexFile, " names ", Harmless(shard),
                                              ", which ", options_.id.Text(), " does not have"));
    }
    shards.insert(shard);
  }
  return std::vector<std::string>(shards.begin(), shards.end());
}

absl::Status Puller::CheckServable() const {
  const absl::StatusOr<std::string> text = ReadFile(PathOf(kConfig));
  if (!text.ok()) return text.status();
  const absl::Status status = ParseModelConfig(*text).status();
  if (status.ok()) return status;
  return absl::FailedPreconditionError(absl::StrCat("Kvasir cannot serve ", options_.id.Text(),
                                                    ": ", Harmless(std::string(status.message()))));
}

absl::Status Puller::Publish(const std::string& commit) const {
  if (options_.folder.has_value()) return absl::OkStatus();
  for (const RemoteFile& file : brought_) {
    absl::Status linked = cache_.Link(options_.id, commit, file.name, file.content.hash.hex);
    if (!linked.ok()) return linked;
  }
  return cache_.WriteRef(options_.id, options_.revision, commit);
}

FilePlace Puller::PlaceOf(const RemoteFile& file) const {
  const std::string& hash = file.content.hash.hex;
  if (!options_.folder.has_value()) return cache_.PlaceOf(options_.id, hash);
  // Where the Python library has its own besides a folder's files.
  const fs::path besides = *options_.folder / ".cache" / "huggingface" / "download";
  return {.destination = *options_.folder / file.name,
          .incomplete = besides / absl::StrCat(file.name, ".", hash, ".incomplete"),
          .lock = besides / (file.name + ".lock")};
}

fs::path Puller::PathOf(const std::string& name) const {
  const auto file = std::ranges::find(brought_, name, &RemoteFile::name);
  return PlaceOf(*file).destination;
}

absl::Status Puller::InParallel(size_t count, const Work& work) {
  const size_t workers = std::min(count, kParallel);
  while (sessions_.size() < workers) {
    sessions_.push_back(
        std::make_unique<HttpSession>(hosts_, options_.hub.token, options_.times, cancellation_));
  }
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  absl::Status first;
  std::vector<std::thread> threads;
  for (size_t worker = 0; worker < workers; ++worker) {
    threads.emplace_back([&, worker] {
      for (size_t i; !cancellation_.cancelled() && (i = next++) < count;) {
        const absl::Status status = work(*sessions_[worker], i);
        if (status.ok()) continue;
        const std::lock_guard lock(mutex);
        if (first.ok()) first = status;
        cancellation_.Cancel();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (first.ok() && cancellation_.cancelled()) return absl::CancelledError("interrupted");
  return first;
}

}  // namespace

absl::StatusOr<PulledModel> Pull(const PullOptions& options, Cancellation& cancellation,
                                 PullProgress& progress) {
  if (absl::Status status = CheckRevision(options.revision); !status.ok()) return status;
  absl::StatusOr<HostPolicy> hosts =
      HostPolicy::Create(options.hub.endpoint, options.redirect_hosts);
  if (!hosts.ok()) return hosts.status();
  return Puller(options, *std::move(hosts), cancellation, progress).Run();
}

}  // namespace kvasir::hub
