#ifndef KVASIR_ENGINE_BACKEND_CPU_HOST_MEMORY_H_
#define KVASIR_ENGINE_BACKEND_CPU_HOST_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

#include "engine/backend/backend.h"

namespace kvasir {

// Pages straight from the kernel: zero at first, in memory only once touched, in huge pages where
// the size allows and the kernel agrees. Null where the address space or the limits are exhausted.
std::unique_ptr<Buffer> MapHostMemory(size_t bytes);

// Brings all of the buffer into memory, as if it had been used.
void Touch(Buffer& buffer);

// Bytes of memory that this process can have at most, and now, without swapping: the machine's, or
// what the control group's limit (a container's) leaves of it.
struct HostMemory {
  int64_t total = 0;
  int64_t available = 0;
};
// `root`: where /proc and /sys/fs/cgroup are.
HostMemory ReadHostMemory(const std::filesystem::path& root = "/");

}  // namespace kvasir

#endif  // KVASIR_ENGINE_BACKEND_CPU_HOST_MEMORY_H_
