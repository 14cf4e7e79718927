// Device memory and schedules for tests of kernels, which run on a GPU and on the emulator alike.
#ifndef KVASIR_TESTS_ENGINE_BACKEND_CUDA_DEVICE_TESTING_H_
#define KVASIR_TESTS_ENGINE_BACKEND_CUDA_DEVICE_TESTING_H_

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "engine/check.h"
#include "engine/tensor.h"
#include "gtest/gtest.h"

namespace kvasir::cuda {

// Half of a unit in the last place, relative: the error of one rounding.
inline constexpr double kF32Rounding = 0x1p-24;
inline constexpr double kBf16Rounding = 0x1p-8;

// An array on the device. Its memory ends with its last element, so that the emulator's guard zone
// sees a step too far, and is NaN (all bits one) until it is written.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size) : size_(size) {
    void* data = nullptr;
    KVASIR_CHECK(cudaMalloc(&data, bytes() > 0 ? bytes() : 1) == cudaSuccess);
    data_ = static_cast<T*>(data);
    if (size == 0) return;
    KVASIR_CHECK(cudaMemset(data_, 0xff, bytes()) == cudaSuccess);
    KVASIR_CHECK(cudaDeviceSynchronize() == cudaSuccess);  // streams of a test may not wait for it
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) { Write(values); }
  ~DeviceArray() { (void)cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return data_; }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(T); }

  void Write(const std::vector<T>& values) {
    KVASIR_CHECK(values.size() == size_);
    if (size_ == 0) return;
    KVASIR_CHECK(cudaMemcpy(data_, values.data(), bytes(), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  // Waits for the device.
  std::vector<T> Read() const {
    std::vector<T> values(size_);
    KVASIR_CHECK(cudaDeviceSynchronize() == cudaSuccess);
    if (size_ == 0) return values;
    KVASIR_CHECK(cudaMemcpy(values.data(), data_, bytes(), cudaMemcpyDeviceToHost) == cudaSuccess);
    return values;
  }

 private:
  T* data_ = nullptr;
  size_t size_;
};

inline __nv_bfloat16 ToBf16(float value) {
  const uint16_t bits = ToBFloat16(value).bits;
  __nv_bfloat16 out;
  std::memcpy(static_cast<void*>(&out), &bits, sizeof(bits));
  return out;
}
inline float FromBf16(__nv_bfloat16 value) {
  uint16_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return ToFloat({bits});
}

inline std::vector<float> NormalFloats(size_t count, uint32_t seed, float scale = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}
inline std::vector<__nv_bfloat16> NormalBf16(size_t count, uint32_t seed, float scale = 1.0f) {
  std::vector<__nv_bfloat16> values;
  values.reserve(count);
  for (const float value : NormalFloats(count, seed, scale)) values.push_back(ToBf16(value));
  return values;
}

// Runs `body` under every schedule of threads that the emulator has; once on a GPU.
void ForEachSchedule(const std::function<void()>& body);

}  // namespace kvasir::cuda

#endif  // KVASIR_TESTS_ENGINE_BACKEND_CUDA_DEVICE_TESTING_H_
