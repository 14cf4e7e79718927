#ifndef KVASIR_SERVICES_HUB_MODEL_FOLDER_H_
#define KVASIR_SERVICES_HUB_MODEL_FOLDER_H_

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"

namespace kvasir::hub {

// A folder with a model's files.
struct ModelFolder {
  std::filesystem::path path;
  std::string name;  // what the model is called; empty: as the folder
};

// What a folder's files are wanted for.
enum class ModelUse { kGenerate, kTokenize };

// The first file that `use` cannot do without and `folder` does not have; empty: all are there.
std::string MissingFile(const std::filesystem::path& folder, ModelUse use);

// What --model names: a folder, or ORGANIZATION/NAME[@REVISION] (main where it is not said) among
// the pulled models. The network is not asked. NOT_FOUND says how to pull it. What is neither is
// taken for a folder: who reads it has the better error.
absl::StatusOr<ModelFolder> FindModel(const std::string& model, ModelUse use);

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_MODEL_FOLDER_H_
