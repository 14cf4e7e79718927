#ifndef KVASIR_TESTS_ENGINE_PARITY_FLOAT_TENSORS_H_
#define KVASIR_TESTS_ENGINE_PARITY_FLOAT_TENSORS_H_

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace kvasir {

using FloatTensors = std::map<std::string, std::vector<float>>;

// Every tensor of a safetensors file that holds F32 only.
absl::StatusOr<FloatTensors> ReadFloatTensors(const std::filesystem::path& path);

}  // namespace kvasir

#endif  // KVASIR_TESTS_ENGINE_PARITY_FLOAT_TENSORS_H_
