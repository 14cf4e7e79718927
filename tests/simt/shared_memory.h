// The shared memory of the block that runs.
#ifndef KVASIR_TESTS_SIMT_SHARED_MEMORY_H_
#define KVASIR_TESTS_SIMT_SHARED_MEMORY_H_

#include <cstddef>

namespace simt {

// A grid with so many bytes of dynamic shared memory.
void BeginSharedMemory(size_t dynamic_bytes);
void EndSharedMemory();
// Another block begins: all of it is NaN again.
void RefillSharedMemory();

// Where it lies, whatever the launch: 128-byte aligned, the lower bits of addresses choose banks.
struct Range {
  const char* begin;
  size_t bytes;
  bool Contains(const void* p) const {
    return static_cast<size_t>(static_cast<const char*>(p) - begin) < bytes;
  }
};
Range SharedRange();

}  // namespace simt

#endif  // KVASIR_TESTS_SIMT_SHARED_MEMORY_H_
