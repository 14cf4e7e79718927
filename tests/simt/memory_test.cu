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

// Memory that is only filled takes none of the host's.
TEST(SimtMemoryTest, LargeMemoryIsWhatItWasFilledWith) {
  constexpr size_t kCount = size_t{9} << 28;  // ints: 9 GiB
  simt::SetDevice({.memory = size_t{16} << 30});
  int* data = nullptr;
  ASSERT_EQ(cudaMalloc(&data, kCount * sizeof(int)), cudaSuccess);
  const auto read = [&](size_t i) {
    int value = 0;
    EXPECT_EQ(cudaMemcpy(&value, data + i, sizeof(int), cudaMemcpyDeviceToHost), cudaSuccess);
    return value;
  };
  for (const size_t i : {size_t{0}, kCount / 2 + 1, kCount - 1}) EXPECT_EQ(read(i), -1);
  ASSERT_EQ(cudaMemset(data + 1, 0, (kCount - 2) * sizeof(int)), cudaSuccess);
  for (const size_t i : {size_t{1}, kCount / 2 + 1, kCount - 2}) EXPECT_EQ(read(i), 0);
  EXPECT_EQ(read(0), -1);
  EXPECT_EQ(read(kCount - 1), -1);
  const int seven = 7;
  ASSERT_EQ(cudaMemcpy(data + kCount / 2, &seven, sizeof(int), cudaMemcpyHostToDevice),
            cudaSuccess);
  EXPECT_EQ(read(kCount / 2), 7);
  EXPECT_EQ(read(kCount / 2 + 1), 0);
  EXPECT_EQ(cudaFree(data), cudaSuccess);
  simt::SetDevice({});
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
