// A GPU and its memory.
#ifndef KVASIR_ENGINE_BACKEND_CUDA_DEVICE_H_
#define KVASIR_ENGINE_BACKEND_CUDA_DEVICE_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/backend.h"

namespace kvasir::cuda {

// What fails while the model runs cannot be mended: says what, and ends the process.
void CheckCuda(cudaError_t error, const char* what);

// The device as kernels and planning see it.
struct Device {
  int index = 0;
  std::string name;
  int major = 0;  // compute capability
  int minor = 0;
  int multiprocessors = 0;
  int64_t total_memory = 0;
};

// Makes the device this thread's own. NOT_FOUND: no driver, or no such device, or the driver is
// older than this build's toolkit needs. FAILED_PRECONDITION: compute capability below 8.0.
absl::StatusOr<Device> OpenDevice(int index);

// All the memory that the backend has on its device, counted against a budget. The device gives it
// out in large pieces, and takes some itself: for code, cuBLASLt's among it, and for graphs.
class DeviceMemory {
 public:
  DeviceMemory(int64_t total, double fraction);
  // What allocations take.
  static int64_t Taken(size_t bytes);
  static int64_t Taken(std::span<const size_t> bytes);

  // Zero bytes, 256-byte aligned. Null where the device has not got them.
  std::unique_ptr<Buffer> TryAllocate(size_t bytes);
  // The same as RESOURCE_EXHAUSTED, which names the use.
  absl::Status Allocate(size_t bytes, const char* use, std::unique_ptr<Buffer>& to);

  // Bytes that could be had now, by the budget and by the device.
  int64_t available() const;
  int64_t allocated() const { return allocated_; }

 private:
  friend class DeviceBuffer;
  const int64_t budget_;
  const int64_t reserve_;  // of what is free
  int64_t allocated_ = 0;
};

// Page-locked host memory, which copies to the device read while the host goes on.
class PinnedBuffer : public Buffer {
 public:
  // RESOURCE_EXHAUSTED, naming the use, where the driver has not got it.
  static absl::Status Allocate(size_t bytes, const char* use, std::unique_ptr<PinnedBuffer>& to);
  ~PinnedBuffer() override;

 private:
  PinnedBuffer(void* data, size_t bytes) : Buffer(data, bytes) {}
};

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_DEVICE_H_
