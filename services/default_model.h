#ifndef KVASIR_SERVICES_DEFAULT_MODEL_H_
#define KVASIR_SERVICES_DEFAULT_MODEL_H_

#include <filesystem>

namespace kvasir {

// The embedded model's directory: in the source tree, or installed beside the program.
std::filesystem::path DefaultModel();

}  // namespace kvasir

#endif  // KVASIR_SERVICES_DEFAULT_MODEL_H_
