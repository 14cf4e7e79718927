#ifndef KVASIR_ENGINE_MODEL_SHARD_INDEX_H_
#define KVASIR_ENGINE_MODEL_SHARD_INDEX_H_

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace kvasir {

inline constexpr char kShardIndexFile[] = "model.safetensors.index.json";

// The weight_map of model.safetensors.index.json: tensor name -> file name in the same directory.
// INVALID_ARGUMENT naming file and field: broken JSON, a tensor named twice, a shard that is no
// plain file name (a path could leave the directory).
absl::StatusOr<std::map<std::string, std::string>> ParseShardIndex(std::string_view json);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_MODEL_SHARD_INDEX_H_
