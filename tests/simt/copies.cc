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

// Matrices that lie `slice` bytes apart, of rows that lie `pitch` bytes apart.
struct Box {
  void* data;
  size_t pitch;
  size_t slice = 0;

  char* row(size_t z, size_t y) const { return static_cast<char*>(data) + z * slice + y * pitch; }
};
struct Copy {
  Box to;
  Box from;  // is only read
  size_t width;
  size_t height;
  cudaMemcpyKind kind;
  size_t depth = 1;

  bool empty() const { return width == 0 || height == 0 || depth == 0; }
  size_t Extent(const Box& box) const {
    return empty() ? 0 : (depth - 1) * box.slice + (height - 1) * box.pitch + width;
  }
};

cudaError_t Check(const Copy& copy) {
  for (const Box& box : {copy.to, copy.from}) {
    if (box.pitch < copy.width || !IsWithin(box.data, copy.Extent(box))) {
      return cudaErrorInvalidValue;
    }
  }
  if (copy.kind == cudaMemcpyDefault) return cudaSuccess;
  const bool to_device =
      copy.kind == cudaMemcpyHostToDevice || copy.kind == cudaMemcpyDeviceToDevice;
  const bool from_device =
      copy.kind == cudaMemcpyDeviceToHost || copy.kind == cudaMemcpyDeviceToDevice;
  const bool right = (PlaceOf(copy.to.data) == Place::kDevice) == to_device &&
                     (PlaceOf(copy.from.data) == Place::kDevice) == from_device;
  return right ? cudaSuccess : cudaErrorInvalidValue;
}

void Do(const Copy& copy) {
  for (size_t z = 0; z < copy.depth; ++z) {
    for (size_t y = 0; y < copy.height; ++y) {
      std::memcpy(copy.to.row(z, y), copy.from.row(z, y), copy.width);
    }
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
  if (copy.height > 1 && (copy.to.pitch > kMaxPitch || copy.from.pitch > kMaxPitch)) {
    return SetError(cudaErrorInvalidPitchValue);
  }
  if (copy.empty()) return cudaSuccess;
  const bool pageable_source = PlaceOf(copy.from.data) == Place::kPageable;
  const bool pageable_target = PlaceOf(copy.to.data) == Place::kPageable;
  if ((pageable_source || pageable_target) && Resolve(stream)->capture != nullptr) {
    return SetError(cudaErrorStreamCaptureUnsupported);
  }
  std::shared_ptr<std::vector<char>> staged;
  if (pageable_source) {
    const auto* const begin = static_cast<const char*>(copy.from.data);
    staged = std::make_shared<std::vector<char>>(begin, begin + copy.Extent(copy.from));
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
  return simt::EnqueueCopy({{to, bytes}, {const_cast<void*>(from), bytes}, bytes, 1, kind}, stream);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  return simt::EnqueueCopy(
      {{to, to_pitch}, {const_cast<void*>(from), from_pitch}, width, height, kind}, stream);
}
cudaError_t cudaMemcpy3DAsync(const cudaMemcpy3DParms* copy, cudaStream_t stream) {
  const auto box = [](const cudaPitchedPtr& memory, const cudaPos& at) {
    const size_t slice = memory.pitch * memory.ysize;
    char* const data = static_cast<char*>(memory.ptr);
    return simt::Box{data + at.z * slice + at.y * memory.pitch + at.x, memory.pitch, slice};
  };
  const auto fits = [&extent = copy->extent](const cudaPitchedPtr& memory, const cudaPos& at) {
    return at.x + extent.width <= memory.pitch && at.y + extent.height <= memory.ysize;
  };
  if (!fits(copy->srcPtr, copy->srcPos) || !fits(copy->dstPtr, copy->dstPos)) {
    return SetError(cudaErrorInvalidValue);
  }
  return simt::EnqueueCopy(
      {box(copy->dstPtr, copy->dstPos), box(copy->srcPtr, copy->srcPos), copy->extent.width,
       copy->extent.height, copy->kind, copy->extent.depth},
      stream);
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
