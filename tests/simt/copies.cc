// Copies and fills between host and device.

#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "tests/simt/device.h"
#include "tests/simt/memory.h"
#include "tests/simt/stream.h"

namespace simt {
namespace {

cudaError_t Check(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (!IsWithin(to, bytes) || !IsWithin(from, bytes)) return cudaErrorInvalidValue;
  if (kind == cudaMemcpyDefault) return cudaSuccess;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const bool right = (PlaceOf(to) == Place::kDevice) == to_device &&
                     (PlaceOf(from) == Place::kDevice) == from_device;
  return right ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace
}  // namespace simt

using simt::Lock;
using simt::PlaceOf;
using simt::SetError;

// Page-locked memory is read when the copy is done; pageable memory at the call, and a copy to
// pageable memory is done when the call returns.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (const cudaError_t error = simt::RequireDevice(); error != cudaSuccess) return error;
  std::lock_guard lock(Lock());
  if (const cudaError_t error = simt::Check(to, from, bytes, kind); error != cudaSuccess) {
    return SetError(error);
  }
  if (bytes == 0) return cudaSuccess;
  const bool pageable_source = PlaceOf(from) == simt::Place::kPageable;
  const bool pageable_target = PlaceOf(to) == simt::Place::kPageable;
  if ((pageable_source || pageable_target) && simt::Resolve(stream)->capture != nullptr) {
    return SetError(cudaErrorStreamCaptureUnsupported);
  }
  std::shared_ptr<std::vector<char>> staged;
  if (pageable_source) {
    const auto* const begin = static_cast<const char*>(from);
    staged = std::make_shared<std::vector<char>>(begin, begin + bytes);
    from = staged->data();
  }
  const cudaError_t error =
      simt::Enqueue(stream, [to, from, bytes, staged] { std::memcpy(to, from, bytes); });
  if (error == cudaSuccess && pageable_target) simt::Drain(simt::Resolve(stream));
  return error;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  std::lock_guard lock(Lock());
  if (simt::AnyCapture()) return SetError(cudaErrorStreamCaptureImplicit);
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  if (error == cudaSuccess) simt::DrainDefault();
  return error;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  if (const cudaError_t error = simt::RequireDevice(); error != cudaSuccess) return error;
  std::lock_guard lock(Lock());
  if (PlaceOf(to) != simt::Place::kDevice || !simt::IsWithin(to, bytes)) {
    return SetError(cudaErrorInvalidValue);
  }
  return simt::Enqueue(stream, [=] { simt::Fill(static_cast<char*>(to), value, bytes); });
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, nullptr);
}
