#ifndef KVASIR_ENGINE_BACKEND_CPU_KERNEL_CHOICE_H_
#define KVASIR_ENGINE_BACKEND_CPU_KERNEL_CHOICE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/cpu/kernels.h"

namespace kvasir {

// The kernel set `name` for weights of `dtype` (kBf16 or kF32); "auto" takes the first of the
// preference table that this CPU has. The choice is a function of the CPU alone, never of a timing:
// a restart must not change a bit. INVALID_ARGUMENT: no such set, or it does not multiply this
// dtype. FAILED_PRECONDITION: this CPU has not got it.
absl::StatusOr<const Kernels*> ChooseKernels(std::string_view name, DType dtype);

// The sets that run here for weights of `dtype`, the preferred one first.
std::vector<std::string> AvailableKernels(DType dtype);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_BACKEND_CPU_KERNEL_CHOICE_H_
