#include "services/hub/model_folder.h"

#include <optional>
#include <set>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "engine/model/config.h"
#include "engine/model/shard_index.h"
#include "services/hub/hub_cache.h"
#include "services/hub/hub_settings.h"

namespace kvasir::hub {
namespace {

namespace fs = std::filesystem;

constexpr char kConfig[] = "config.json", kTokenizer[] = "tokenizer.json";
constexpr char kTokenizerConfig[] = "tokenizer_config.json", kWeights[] = "model.safetensors";

// A link whose content is gone is no file.
bool Has(const fs::path& folder, const std::string& file) {
  std::error_code error;
  return fs::exists(folder / file, error);
}

std::string MissingWeights(const fs::path& folder) {
  if (Has(folder, kWeights)) return "";
  const absl::StatusOr<std::string> text = ReadFile(folder / kShardIndexFile);
  if (!text.ok()) return kWeights;
  const auto shards = ParseShardIndex(*text);
  if (!shards.ok()) return kShardIndexFile;
  for (const auto& [tensor, shard] : *shards) {
    if (!Has(folder, shard)) return shard;
  }
  return "";
}

std::string PullCommand(const ModelId& id, const std::string& revision) {
  return absl::StrCat("`kvasir pull ", id.Text(),
                      revision == "main" ? "" : absl::StrCat(" --revision=", revision), "`");
}

}  // namespace

std::string MissingFile(const fs::path& folder, ModelUse use) {
  if (use == ModelUse::kTokenize) {
    for (const char* file : {kTokenizer, kTokenizerConfig}) {
      if (!Has(folder, file)) return file;
    }
    return "";
  }
  return Has(folder, kConfig) ? MissingWeights(folder) : kConfig;
}

absl::StatusOr<ModelFolder> FindModel(const std::string& model, ModelUse use) {
  std::error_code error;
  if (fs::is_directory(model, error)) {
    const std::optional<ModelId> id = HubCache::ModelOfSnapshot(model);
    return ModelFolder{model, id.has_value() ? id->Text() : ""};
  }
  const size_t at = model.find('@');
  const absl::StatusOr<ModelId> id = ParseModelId(model.substr(0, at));
  if (!id.ok()) return ModelFolder{model, ""};
  const std::string revision = at == std::string::npos ? "main" : model.substr(at + 1);
  if (absl::Status status = CheckRevision(revision); !status.ok()) return status;

  const HubCache cache(HubCacheFromEnvironment());
  const std::optional<std::string> commit = cache.FindCommit(*id, revision);
  if (!commit.has_value()) {
    return absl::NotFoundError(
        absl::StrCat("--model=", model, ": there is no such folder, and no such model in ",
                     cache.root().string(), "; ", PullCommand(*id, revision), " fetches it"));
  }
  const fs::path snapshot = cache.SnapshotPath(*id, *commit);
  if (const std::string missing = MissingFile(snapshot, use); !missing.empty()) {
    return absl::NotFoundError(absl::StrCat("--model=", model, ": ", snapshot.string(), " lacks ",
                                            missing, "; ", PullCommand(*id, revision),
                                            " fetches it"));
  }
  return ModelFolder{snapshot, id->Text()};
}

}  // namespace kvasir::hub
