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

// A matrix whose rows lie `pitch` bytes apart.
struct Rows {
  const void* data;
  size_t pitch;
};
struct Copy {
  void* to;
  size_t to_pitch;
  Rows from;
  size_t width;
  size_t height;
  cudaMemcpyKind kind;

  size_t Extent(size_t pitch) const { return height == 0 ? 0 : (height - 1) * pitch + width; }
};

cudaError_t Check(const Copy& copy) {
  if (copy.to_pitch < copy.width || copy.from.pitch < copy.width) return cudaErrorInvalidValue;
  if (!IsWithin(copy.to, copy.Extent(copy.to_pitch)) ||
      !IsWithin(copy.from.data, copy.Extent(copy.from.pitch))) {
    return cudaErrorInvalidValue;
  }
  if (copy.kind == cudaMemcpyDefault) return cudaSuccess;
  const bool to_device =
      copy.kind == cudaMemcpyHostToDevice || copy.kind == cudaMemcpyDeviceToDevice;
  const bool from_device =
      copy.kind == cudaMemcpyDeviceToHost || copy.kind == cudaMemcpyDeviceToDevice;
  const bool right = (PlaceOf(copy.to) == Place::kDevice) == to_device &&
                     (PlaceOf(copy.from.data) == Place::kDevice) == from_device;
  return right ? cudaSuccess : cudaErrorInvalidValue;
}

void Do(const Copy& copy) {
  for (size_t i = 0; i < copy.height; ++i) {
    std::memcpy(static_cast<char*>(copy.to) + i * copy.to_pitch,
                static_cast<const char*>(copy.from.data) + i * copy.from.pitch, copy.width);
  }
}

// Page-locked memory is read when the copy is done; pageable memory at the call, and a copy to
// pageable memory is done when the call returns.
cudaError_t EnqueueCopy(Copy copy, cudaStream_t stream) {
  if (const cudaError_t error = RequireDevice(); error != cudaSuccess) return error;
  std::lock_guard lock(Lock());
  if (const cudaError_t error = Check(copy); error != cudaSuccess) return SetError(error);
  // A real device's memPitch.
  constexpr size_t kMaxPitch = 0x7fffffff;
  if (copy.height > 1 && (copy.to_pitch > kMaxPitch || copy.from.pitch > kMaxPitch)) {
    return SetError(cudaErrorInvalidPitchValue);
  }
  if (copy.width == 0 || copy.height == 0) return cudaSuccess;
  const bool pageable_source = PlaceOf(copy.from.data) == Place::kPageable;
  const bool pageable_target = PlaceOf(copy.to) == Place::kPageable;
  if ((pageable_source || pageable_target) && Resolve(stream)->capture != nullptr) {
    return SetError(cudaErrorStreamCaptureUnsupported);
  }
  std::shared_ptr<std::vector<char>> staged;
  if (pageable_source) {
    const auto* const begin = static_cast<const char*>(copy.from.data);
    staged = std::make_shared<std::vector<char>>(begin, begin + copy.Extent(copy.from.pitch));
    copy.from.data = staged->data();
  }
  const cudaError_t error = Enqueue(stream, [copy, staged] { Do(copy); });
  if (error == cudaSuccess && pageable_target) Drain(Resolve(stream));
  return error;
}

}  // namespace
}  // namespace simt

using simt::Lock;
using simt::SetError;

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return simt::EnqueueCopy({to, bytes, {from, bytes}, bytes, 1, kind}, stream);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  return simt::EnqueueCopy({to, to_pitch, {from, from_pitch}, width, height, kind}, stream);
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
  if (simt::PlaceOf(to) != simt::Place::kDevice || !simt::IsWithin(to, bytes)) {
    return SetError(cudaErrorInvalidValue);
  }
  return simt::Enqueue(stream, [=] { std::memset(to, value, bytes); });
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, nullptr);
}
