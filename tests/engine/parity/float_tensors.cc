#include "tests/engine/parity/float_tensors.h"

#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/model/safetensors.h"

namespace kvasir {

absl::StatusOr<FloatTensors> ReadFloatTensors(const std::filesystem::path& path) {
  const absl::StatusOr<std::unique_ptr<MappedSafetensors>> file = MappedSafetensors::Open(path);
  if (!file.ok()) return file.status();
  FloatTensors tensors;
  for (const auto& [name, entry] : (*file)->header().tensors) {
    if (entry.dtype != "F32") {
      return absl::InvalidArgumentError(
          absl::StrCat(path.string(), ": tensor '", name, "' is not F32"));
    }
    const std::string_view bytes = (*file)->Data(entry);
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    tensors.emplace(name, std::move(values));
  }
  return tensors;
}

}  // namespace kvasir
