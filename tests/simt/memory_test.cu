// Allocation and copies.

#include <simt.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "engine/backend/cuda/gpu.cuh"
#include "gmock/gmock.h"
#include "tests/engine/backend/cuda/device_testing.h"

namespace kvasir::cuda {
namespace {

using testing::Each;

TEST(SimtMemoryTest, IsNanUntilWritten) {
  float* data = nullptr;
  ASSERT_EQ(cudaMalloc(&data, 400), cudaSuccess);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 256, 0);
  std::vector<uint32_t> host(100);
  ASSERT_EQ(cudaMemcpy(host.data(), data, 400, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_THAT(host, Each(~0u));
  EXPECT_EQ(cudaFree(data), cudaSuccess);
}

TEST(SimtMemoryTest, CountsAllocations) {
  const simt::Statistics before = simt::ReadStatistics();
  void* device = nullptr;
  void* pinned = nullptr;
  ASSERT_EQ(cudaMalloc(&device, 400), cudaSuccess);
  ASSERT_EQ(cudaMallocHost(&pinned, 300), cudaSuccess);
  EXPECT_EQ(simt::ReadStatistics().device_bytes - before.device_bytes, 400);
  EXPECT_EQ(simt::ReadStatistics().pinned_bytes - before.pinned_bytes, 300);
  EXPECT_EQ(cudaFree(device), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
  const simt::Statistics after = simt::ReadStatistics();
  EXPECT_EQ(after.allocations - before.allocations, 2);
  EXPECT_EQ(after.device_bytes, before.device_bytes);
  EXPECT_EQ(after.pinned_bytes, before.pinned_bytes);
}

TEST(SimtMemoryTest, IsAsLargeAsTheDevice) {
  simt::Device device;
  device.memory = 1 << 20;
  simt::SetDevice(device);
  void* first = nullptr;
  void* second = nullptr;
  size_t free = 0, total = 0;
  ASSERT_EQ(cudaMalloc(&first, 768 << 10), cudaSuccess);
  ASSERT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(free, 256 << 10);
  EXPECT_EQ(total, 1 << 20);
  EXPECT_EQ(cudaMalloc(&second, (256 << 10) + 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(cudaFree(first), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&second, (256 << 10) + 1), cudaSuccess);
  EXPECT_EQ(cudaFree(second), cudaSuccess);
  EXPECT_EQ(simt::ReadStatistics().device_bytes, 0);
  simt::SetDevice({});
}

TEST(SimtMemoryTest, OnlyWhatWasGivenIsTakenBack) {
  int host = 0;
  DeviceArray<int> data(64);
  EXPECT_EQ(cudaFree(&host), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(data.get() + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFreeHost(&host), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(nullptr), cudaSuccess);
  (void)cudaGetLastError();
}

TEST(SimtCopyTest, WantsTheRightDirectionAndBounds) {
  std::vector<int> host(65);
  const DeviceArray<int> data(64);
  EXPECT_EQ(cudaMemcpy(host.data(), data.get(), 256, cudaMemcpyHostToDevice),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(data.get(), host.data(), 256, cudaMemcpyDeviceToDevice),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(data.get(), host.data(), 260, cudaMemcpyHostToDevice),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(data.get() + 1, 0, 256), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(host.data(), 0, 4), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(data.get(), host.data(), 256, cudaMemcpyDefault), cudaSuccess);
  (void)cudaGetLastError();
}

TEST(SimtCopyTest, TakesRowsOfAMatrix) {
  ForEachSchedule([] {
    std::vector<int> host(4 * 8);
    std::iota(host.begin(), host.end(), 0);
    const DeviceArray<int> data(std::vector<int>(3 * 4, -1));
    // Columns 2 to 4 of four rows, to rows of three.
    ASSERT_EQ(cudaMemcpy2DAsync(data.get(), 12, host.data() + 2, 32, 12, 4, cudaMemcpyHostToDevice,
                                nullptr),
              cudaSuccess);
    EXPECT_EQ(data.Read(), (std::vector<int>{2, 3, 4, 10, 11, 12, 18, 19, 20, 26, 27, 28}));
  });
}

TEST(SimtCopyTest, TakesABoxOfABox) {
  ForEachSchedule([] {
    std::vector<int> host(3 * 2 * 4);  // three slices of two rows of four
    std::iota(host.begin(), host.end(), 0);
    const DeviceArray<int> data(std::vector<int>(2 * 2, -1));
    cudaMemcpy3DParms copy = {};
    copy.srcPtr = make_cudaPitchedPtr(host.data(), 16, 16, 2);
    copy.srcPos = make_cudaPos(8, 1, 1);
    copy.dstPtr = make_cudaPitchedPtr(data.get(), 8, 8, 1);
    copy.extent = make_cudaExtent(8, 1, 2);
    copy.kind = cudaMemcpyHostToDevice;
    ASSERT_EQ(cudaMemcpy3DAsync(&copy), cudaSuccess);
    EXPECT_EQ(data.Read(), (std::vector<int>{14, 15, 22, 23}));
    copy.extent.height = 2;  // past the last row of a slice
    EXPECT_EQ(cudaMemcpy3DAsync(&copy), cudaErrorInvalidValue);
    copy.extent = make_cudaExtent(8, 1, 3);  // past the last slice
    EXPECT_EQ(cudaMemcpy3DAsync(&copy), cudaErrorInvalidValue);
    (void)cudaGetLastError();
  });
}

TEST(SimtCopyTest, FillsBytes) {
  ForEachSchedule([] {
    const DeviceArray<int> data(std::vector<int>(16, 7));
    ASSERT_EQ(cudaMemset(data.get() + 8, 1, 32), cudaSuccess);
    const std::vector<int> values = data.Read();
    EXPECT_EQ(values[7], 7);
    EXPECT_EQ(values[8], 0x01010101);
  });
}

}  // namespace
}  // namespace kvasir::cuda
