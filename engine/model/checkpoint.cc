#include "engine/model/checkpoint.h"

#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/model/shard_index.h"

namespace kvasir {
namespace {

constexpr char kSingleFile[] = "model.safetensors";

absl::Status Bad(std::string_view file, std::string_view tensor, std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(file), ": tensor '", std::string(tensor), "': ", std::string(what)));
}

std::optional<DType> ToDType(std::string_view name) {
  if (name == "BF16") return DType::kBf16;
  if (name == "F16") return DType::kF16;
  if (name == "F32") return DType::kF32;
  return std::nullopt;
}

std::string ShapeText(const SafetensorsEntry& entry) {
  return absl::StrCat("[", absl::StrJoin(entry.shape, ","), "]");
}

// What old exporters leave in a file and no forward pass reads.
bool IsHarmless(std::string_view name, const ModelConfig& config) {
  return name.ends_with("rotary_emb.inv_freq") ||
         (config.tied_embeddings && name == "lm_head.weight");
}

}  // namespace

absl::StatusOr<Checkpoint> Checkpoint::Open(const std::filesystem::path& dir,
                                            const ModelConfig& config) {
  Checkpoint checkpoint;
  // Where both are there, transformers takes the single file.
  std::error_code error;
  const bool sharded = !std::filesystem::exists(dir / kSingleFile, error) &&
                       std::filesystem::exists(dir / kShardIndexFile, error);
  absl::Status status =
      sharded ? checkpoint.OpenShards(dir) : checkpoint.OpenFile(dir / kSingleFile);
  if (status.ok()) status = checkpoint.Check(config);
  if (!status.ok()) return status;
  return checkpoint;
}

absl::Status Checkpoint::OpenFile(const std::filesystem::path& path) {
  absl::StatusOr<std::unique_ptr<MappedSafetensors>> file = MappedSafetensors::Open(path);
  if (!file.ok()) return file.status();
  for (const auto& [name, entry] : (*file)->header().tensors) {
    const auto [it, is_new] = places_.emplace(name, Place{file->get(), &entry});
    if (!is_new) {
      return Bad((*file)->name(), name, absl::StrCat("is in ", it->second.file->name(), " too"));
    }
  }
  files_.push_back(*std::move(file));
  return absl::OkStatus();
}

absl::Status Checkpoint::OpenShards(const std::filesystem::path& dir) {
  const absl::StatusOr<std::string> text = ReadFile(dir / kShardIndexFile);
  if (!text.ok()) return text.status();
  const absl::StatusOr<std::map<std::string, std::string>> wanted = ParseShardIndex(*text);
  if (!wanted.ok()) return wanted.status();
  std::set<std::string> shards;
  for (const auto& [name, shard] : *wanted) shards.insert(shard);
  for (const std::string& shard : shards) {
    const absl::Status opened = OpenFile(dir / shard);
    if (!opened.ok()) return opened;
  }
  for (const auto& [name, shard] : *wanted) {
    const auto place = places_.find(name);
    if (place == places_.end() || place->second.file->name() != shard) {
      return Bad(kShardIndexFile, name, absl::StrCat("is not in ", shard));
    }
  }
  for (const auto& [name, place] : places_) {
    if (!wanted->contains(name)) return Bad(place.file->name(), name, "is not in the index");
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::Check(const ModelConfig& config) const {
  std::set<std::string> expected;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    expected.insert(spec.name);
    const auto it = places_.find(spec.name);
    if (it == places_.end()) {
      return Bad(files_.size() == 1 ? files_[0]->name() : kShardIndexFile, spec.name, "is missing");
    }
    const auto& [file, entry] = it->second;
    if (!ToDType(entry->dtype)) {
      return Bad(file->name(), spec.name,
                 absl::StrCat("dtype ", entry->dtype, " is not one of BF16, F16, F32"));
    }
    std::vector<int64_t> shape = {spec.rows};
    if (spec.cols > 0) shape.push_back(spec.cols);
    if (entry->shape != shape) {
      return Bad(file->name(), spec.name,
                 absl::StrCat("shape ", ShapeText(*entry), " is not [", absl::StrJoin(shape, ","),
                              "], which config.json asks for"));
    }
  }
  for (const auto& [name, place] : places_) {
    if (!expected.contains(name) && !IsHarmless(name, config)) {
      return Bad(place.file->name(), name, "is not part of a Qwen3 of this configuration");
    }
  }
  return absl::OkStatus();
}

std::string_view Checkpoint::Bytes(const std::string& name) const {
  const Place& place = places_.at(name);
  return place.file->Data(*place.entry);
}

HostMatrix Checkpoint::Matrix(const std::string& name) const {
  const Place& place = places_.at(name);
  const std::vector<int64_t>& shape = place.entry->shape;
  return {.data = place.file->Data(*place.entry).data(),
          .dtype = *ToDType(place.entry->dtype),
          .rows = shape.size() == 2 ? static_cast<int>(shape[0]) : 1,
          .cols = static_cast<int>(shape.back())};
}

std::string Checkpoint::Description(const std::string& name) const {
  const Place& place = places_.at(name);
  return absl::StrCat(place.entry->dtype, " ", ShapeText(*place.entry));
}

void Checkpoint::Release(const std::string& name) const {
  const Place& place = places_.at(name);
  place.file->Release(*place.entry);
}

}  // namespace kvasir
