#ifndef KVASIR_ENGINE_MODEL_CHECKPOINT_H_
#define KVASIR_ENGINE_MODEL_CHECKPOINT_H_

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/model/config.h"
#include "engine/model/safetensors.h"

namespace kvasir {

// The tensors of a directory: model.safetensors, or without it the shards that
// model.safetensors.index.json names. Every tensor that the configuration asks for is there once,
// in its shape; nothing else is.
class Checkpoint {
 public:
  // Errors name file and tensor.
  static absl::StatusOr<Checkpoint> Open(const std::filesystem::path& dir,
                                         const ModelConfig& config);

  // REQUIRES: `name` is one of ExpectedTensors(config).
  std::string_view Bytes(const std::string& name) const;
  HostMatrix Matrix(const std::string& name) const;
  // As the file says, for the fingerprint: "BF16 [4,8]".
  std::string Description(const std::string& name) const;
  void Release(const std::string& name) const;

 private:
  struct Place {
    const MappedSafetensors* file = nullptr;
    const SafetensorsEntry* entry = nullptr;
  };

  absl::Status OpenFile(const std::filesystem::path& path);
  absl::Status OpenShards(const std::filesystem::path& dir);
  absl::Status Check(const ModelConfig& config) const;

  std::vector<std::unique_ptr<MappedSafetensors>> files_;
  std::map<std::string, Place> places_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_MODEL_CHECKPOINT_H_
