// Device and pinned memory. All under the lock of stream.h but for DeviceRange.
#ifndef KVASIR_TESTS_SIMT_MEMORY_H_
#define KVASIR_TESTS_SIMT_MEMORY_H_

#include <cstddef>

#include "tests/simt/shared_memory.h"

namespace simt {

enum class Place { kPageable, kPinned, kDevice };
Place PlaceOf(const void* p);
// Whether [p, p + bytes) lies in one allocation of its place; pageable memory is believed.
bool IsWithin(const void* p, size_t bytes);

// memset of device memory; takes no more of the host's than what is written there afterwards.
void Fill(char* begin, int value, size_t bytes);

// The addresses that device memory may have.
Range DeviceRange();

// While one lives the host may touch device memory: it does the device's work.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

}  // namespace simt

#endif  // KVASIR_TESTS_SIMT_MEMORY_H_
