#include "services/default_model.h"

#include <system_error>

namespace kvasir {

std::filesystem::path DefaultModel() {
  const std::filesystem::path in_source =
      std::filesystem::path(KVASIR_SOURCE_DIR) / "models" / "tiny";
  std::error_code error;
  if (std::filesystem::exists(in_source, error)) return in_source;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  return (program.parent_path() / "../share/kvasir/models/tiny").lexically_normal();
}

}  // namespace kvasir
