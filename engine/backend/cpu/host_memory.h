#ifndef KVASIR_ENGINE_BACKEND_CPU_HOST_MEMORY_H_
#define KVASIR_ENGINE_BACKEND_CPU_HOST_MEMORY_H_

#include <cstddef>
#include <memory>

#include "engine/backend/backend.h"

namespace kvasir {

// Pages straight from the kernel: zero at first, in memory only once touched, in huge pages where
// the size allows and the kernel agrees. Null where the address space or the limits are exhausted.
std::unique_ptr<Buffer> MapHostMemory(size_t bytes);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_BACKEND_CPU_HOST_MEMORY_H_
