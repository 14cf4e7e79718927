#include "engine/backend/cuda/device.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "engine/check.h"

namespace kvasir::cuda {
namespace {

// cp.async, bf16 tensor cores.
constexpr int kLeastMajor = 8;

// Half a gigabyte on the GPUs that models are served from.
constexpr int64_t kMostReserve = int64_t{512} << 20;
constexpr int64_t kReserveShare = 32;

}  // namespace

void CheckCuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s failed on the GPU: %s\n", what, cudaGetErrorString(error));
  std::abort();
}

absl::StatusOr<Device> OpenDevice(int index) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    const char* why = error != cudaSuccess ? cudaGetErrorString(error) : "no device";
    (void)cudaGetLastError();
    return absl::NotFoundError(absl::StrCat("no GPU: ", why));
  }
  if (index >= count) {
    return absl::NotFoundError(
        absl::StrCat("--device: no GPU ", index, "; the driver knows ", count));
  }
  cudaDeviceProp properties;
  if (const cudaError_t failed = cudaGetDeviceProperties(&properties, index);
      failed != cudaSuccess) {
    return absl::NotFoundError(absl::StrCat("GPU ", index, ": ", cudaGetErrorString(failed)));
  }
  if (properties.major < kLeastMajor) {
    return absl::FailedPreconditionError(absl::StrCat(
        "GPU ", index, " (", properties.name, ") has compute capability ", properties.major, ".",
        properties.minor, ", and ", kLeastMajor, ".0 (Ampere) is the least"));
  }
  if (const cudaError_t failed = cudaSetDevice(index); failed != cudaSuccess) {
    return absl::NotFoundError(absl::StrCat("GPU ", index, ": ", cudaGetErrorString(failed)));
  }
  return Device{index,
                properties.name,
                properties.major,
                properties.minor,
                properties.multiProcessorCount,
                static_cast<int64_t>(properties.totalGlobalMem)};
}

class DeviceBuffer : public Buffer {
 public:
  DeviceBuffer(void* data, size_t bytes, DeviceMemory& memory)
      : Buffer(data, bytes), memory_(memory) {
    memory_.allocated_ += DeviceMemory::Taken(bytes_);
  }
  ~DeviceBuffer() override {
    (void)cudaFree(data_);
    memory_.allocated_ -= DeviceMemory::Taken(bytes_);
  }

 private:
  DeviceMemory& memory_;
};

DeviceMemory::DeviceMemory(int64_t total, double fraction)
    : budget_(static_cast<int64_t>(static_cast<double>(total) * fraction)),
      reserve_(std::min(kMostReserve, total / kReserveShare)) {}

int64_t DeviceMemory::Taken(size_t bytes) {
  // cudaMalloc serves small ones out of pieces of 2 MiB, and larger ones with whole ones.
  constexpr size_t kPiece = size_t{2} << 20;
  const size_t unit = bytes >= kPiece / 2 ? kPiece : 256;
  return static_cast<int64_t>((bytes + unit - 1) / unit * unit);
}

std::unique_ptr<Buffer> DeviceMemory::TryAllocate(size_t bytes) {
  void* data = nullptr;
  const size_t size = std::max<size_t>(bytes, 1);
  if (cudaMalloc(&data, size) != cudaSuccess) {
    (void)cudaGetLastError();  // it would be reported once more by the next launch
    return nullptr;
  }
  // Streams that do not wait for the default one must not overtake it.
  CheckCuda(cudaMemset(data, 0, size), "clearing memory");
#if !defined(BUG_UPLOAD_CLEARED_LATE)  // planted: what is copied there is cleared afterwards
  CheckCuda(cudaStreamSynchronize(nullptr), "clearing memory");
#endif
  return std::make_unique<DeviceBuffer>(data, bytes, *this);
}

std::unique_ptr<Buffer> DeviceMemory::Allocate(size_t bytes) {
  std::unique_ptr<Buffer> buffer = TryAllocate(bytes);
  KVASIR_CHECK(buffer != nullptr);
  return buffer;
}

int64_t DeviceMemory::available() const {
  size_t free = 0;
  size_t total = 0;
  CheckCuda(cudaMemGetInfo(&free, &total), "asking for free memory");
  return std::max<int64_t>(0,
                           std::min(static_cast<int64_t>(free) - reserve_, budget_ - allocated_));
}

PinnedBuffer::PinnedBuffer(size_t bytes) : Buffer(nullptr, bytes) {
  CheckCuda(cudaMallocHost(&data_, std::max<size_t>(bytes, 1)), "allocating page-locked memory");
}

std::unique_ptr<PinnedBuffer> PinnedBuffer::TryAllocate(size_t bytes) {
  void* data = nullptr;
  if (cudaMallocHost(&data, std::max<size_t>(bytes, 1)) != cudaSuccess) {
    (void)cudaGetLastError();  // it would be reported once more by the next launch
    return nullptr;
  }
  return std::unique_ptr<PinnedBuffer>(new PinnedBuffer(data, bytes));
}

PinnedBuffer::~PinnedBuffer() { (void)cudaFreeHost(data_); }

}  // namespace kvasir::cuda
