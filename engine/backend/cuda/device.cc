#include "engine/backend/cuda/device.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"

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

namespace {

std::string CudaVersion(int version) {
  return absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

// Whatever the driver is asked for when it is missing or too old, the answer is the same.
absl::Status CheckDriver() {
  int driver = 0;  // the newest CUDA that it supports
  int runtime = 0;
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  if (driver == 0) return absl::NotFoundError("no GPU: no NVIDIA driver");
  // A driver serves all minor versions of its CUDA.
  if (driver / 1000 >= runtime / 1000) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("no GPU: the NVIDIA driver is for CUDA ",
                                          CudaVersion(driver), ", and this build needs one for ",
                                          CudaVersion(runtime / 1000 * 1000), " or later"));
}

}  // namespace

absl::StatusOr<Device> OpenDevice(int index) {
  if (absl::Status driver = CheckDriver(); !driver.ok()) return driver;
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

int64_t DeviceMemory::Taken(std::span<const size_t> bytes) {
  int64_t all = int64_t{2} << 20;  // a piece that small ones have begun
  for (const size_t each : bytes) all += Taken(each);
  return all;
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

absl::Status DeviceMemory::Allocate(size_t bytes, const char* use, std::unique_ptr<Buffer>& to) {
  to = TryAllocate(bytes);
  if (to != nullptr) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("the GPU has no ", bytes, " bytes of memory for ", use));
}

int64_t DeviceMemory::available() const {
  size_t free = 0;
  size_t total = 0;
  CheckCuda(cudaMemGetInfo(&free, &total), "asking for free memory");
  return std::max<int64_t>(0,
                           std::min(static_cast<int64_t>(free) - reserve_, budget_ - allocated_));
}

absl::Status PinnedBuffer::Allocate(size_t bytes, const char* use,
                                    std::unique_ptr<PinnedBuffer>& to) {
  void* data = nullptr;
  const cudaError_t error = cudaMallocHost(&data, std::max<size_t>(bytes, 1));
  if (error != cudaSuccess) {
    (void)cudaGetLastError();  // it would be reported once more by the next launch
    return absl::ResourceExhaustedError(absl::StrCat("the driver has no ", bytes,
                                                     " bytes of page-locked memory for ", use, ": ",
                                                     cudaGetErrorString(error)));
  }
  to.reset(new PinnedBuffer(data, bytes));
  return absl::OkStatus();
}

PinnedBuffer::~PinnedBuffer() { (void)cudaFreeHost(data_); }

}  // namespace kvasir::cuda
