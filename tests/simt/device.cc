#include "tests/simt/device.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

#include "tests/simt/block.h"
#include "tests/simt/symbols.h"

namespace simt {
namespace {

constexpr int kRuntimeVersion = 13000;
constexpr size_t kSharedDefault = 48 << 10;  // bytes a block may have without opting in
constexpr size_t kSharedReserved = 1 << 10;  // bytes of each block's
constexpr int kBlocksPerMultiprocessor = 32;

Device& TheDevice() {
  static Device& device = *new Device;
  return device;
}
thread_local cudaError_t t_last_error = cudaSuccess;

// Kernels that opted in to more dynamic shared memory.
struct OptIns {
  std::mutex mutex;
  std::map<const void*, size_t> bytes;
};
OptIns& TheOptIns() {
  static OptIns& opt_ins = *new OptIns;
  return opt_ins;
}

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;
};
constexpr ErrorText kErrorTexts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
};
const ErrorText& TextOf(cudaError_t error) {
  static constexpr ErrorText kUnknown = {cudaSuccess, "unrecognized error code",
                                         "unrecognized error code"};
  const auto found = std::find_if(std::begin(kErrorTexts), std::end(kErrorTexts),
                                  [&](const ErrorText& text) { return text.error == error; });
  return found != std::end(kErrorTexts) ? *found : kUnknown;
}

}  // namespace

void SetDevice(const Device& device) { TheDevice() = device; }

const Device& CurrentDevice() { return TheDevice(); }

cudaError_t SetError(cudaError_t error) {
  if (error != cudaSuccess) t_last_error = error;
  return error;
}

cudaError_t RequireDevice() {
  switch (CurrentDevice().presence) {
    case Device::Presence::kNoDriver:
      return SetError(cudaErrorInsufficientDriver);
    case Device::Presence::kNoDevice:
      return SetError(cudaErrorNoDevice);
    case Device::Presence::kPresent:
      break;
  }
  if (CurrentDevice().driver_version / 1000 < kRuntimeVersion / 1000) {
    return SetError(cudaErrorInsufficientDriver);
  }
  return cudaSuccess;
}

cudaError_t SetDynamicShared(const void* kernel, int bytes) {
  if (bytes < 0 || static_cast<size_t>(bytes) > CurrentDevice().shared_per_block) {
    return SetError(cudaErrorInvalidValue);
  }
  OptIns& opt_ins = TheOptIns();
  std::lock_guard lock(opt_ins.mutex);
  opt_ins.bytes[kernel] = static_cast<size_t>(bytes);
  return cudaSuccess;
}

std::map<std::string, size_t> GrantedShared() {
  OptIns& opt_ins = TheOptIns();
  std::lock_guard lock(opt_ins.mutex);
  std::map<std::string, size_t> granted;
  for (const auto& [kernel, bytes] : opt_ins.bytes) granted[FunctionName(kernel)] = bytes;
  return granted;
}

cudaError_t CheckLaunch(const Launch& launch) {
  const dim3& grid = launch.grid;
  const dim3& block = launch.block;
  const size_t threads = size_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > kMaxThreads || block.z > 64 || grid.x == 0 || grid.y == 0 ||
      grid.z == 0 || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) {
    return cudaErrorInvalidConfiguration;
  }
  OptIns& opt_ins = TheOptIns();
  std::lock_guard lock(opt_ins.mutex);
  const auto found = opt_ins.bytes.find(launch.kernel);
  const size_t limit = found != opt_ins.bytes.end() ? found->second : kSharedDefault;
  return launch.dynamic_shared <= std::max(limit, kSharedDefault) ? cudaSuccess
                                                                  : cudaErrorInvalidValue;
}

cudaError_t BlocksPerMultiprocessor(int* blocks, int threads, size_t dynamic_shared) {
  if (threads <= 0 || threads > int(kMaxThreads)) return SetError(cudaErrorInvalidValue);
  const Device& device = CurrentDevice();
  *blocks = 0;
  if (dynamic_shared > device.shared_per_block) return cudaSuccess;
  const size_t by_threads =
      device.threads_per_multiprocessor / ((threads + kLanes - 1) / kLanes * kLanes);
  const size_t by_shared = device.shared_per_multiprocessor / (dynamic_shared + kSharedReserved);
  *blocks = std::min(kBlocksPerMultiprocessor, static_cast<int>(std::min(by_threads, by_shared)));
  return cudaSuccess;
}

}  // namespace simt

using simt::CurrentDevice;
using simt::SetError;

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  if (const cudaError_t error = simt::RequireDevice(); error != cudaSuccess) return error;
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (const cudaError_t error = simt::RequireDevice(); error != cudaSuccess) return error;
  if (device != 0) return SetError(cudaErrorInvalidDevice);
  const simt::Device& from = CurrentDevice();
  *properties = {};
  from.name.copy(properties->name, sizeof(properties->name) - 1);
  properties->totalGlobalMem = from.memory;
  properties->sharedMemPerBlock = simt::kSharedDefault;
  properties->sharedMemPerBlockOptin = from.shared_per_block;
  properties->major = from.major;
  properties->minor = from.minor;
  properties->multiProcessorCount = from.multiprocessors;
  properties->l2CacheSize = from.l2_cache;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (const cudaError_t error = simt::RequireDevice(); error != cudaSuccess) return error;
  return SetError(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaDriverGetVersion(int* version) {
  const bool driver = CurrentDevice().presence != simt::Device::Presence::kNoDriver;
  *version = driver ? CurrentDevice().driver_version : 0;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = simt::kRuntimeVersion;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() { return std::exchange(simt::t_last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return simt::t_last_error; }
const char* cudaGetErrorName(cudaError_t error) { return simt::TextOf(error).name; }
const char* cudaGetErrorString(cudaError_t error) { return simt::TextOf(error).text; }
