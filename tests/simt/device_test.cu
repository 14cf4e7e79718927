// The device that is pretended to be there.

#include <simt.h>

#include <string>
#include <tuple>

#include "engine/backend/cuda/gpu.cuh"
#include "gtest/gtest.h"

namespace kvasir::cuda {
namespace {

__global__ void EmptyKernel() {}

class SimtDeviceTest : public testing::Test {
 protected:
  void TearDown() override {
    simt::SetDevice({});
    (void)cudaGetLastError();
  }
};

TEST_F(SimtDeviceTest, HasTheWantedProperties) {
  simt::Device device;
  device.name = "Tiny";
  device.major = 9;
  device.minor = 1;
  device.multiprocessors = 7;
  device.memory = 1 << 20;
  device.shared_per_block = 100 << 10;
  simt::SetDevice(device);
  int count = 0;
  cudaDeviceProp properties;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 1);
  ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
  EXPECT_EQ(std::string(properties.name), "Tiny");
  EXPECT_EQ(properties.major, 9);
  EXPECT_EQ(properties.minor, 1);
  EXPECT_EQ(properties.multiProcessorCount, 7);
  EXPECT_EQ(properties.totalGlobalMem, 1 << 20);
  EXPECT_EQ(properties.sharedMemPerBlockOptin, 100 << 10);
  EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaFuncSetAttribute(EmptyKernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 (100 << 10) + 1),
            cudaErrorInvalidValue);
}

TEST_F(SimtDeviceTest, MayBeMissing) {
  int count = 1, version = 0;
  void* memory = nullptr;
  simt::Device device;
  device.presence = simt::Device::Presence::kNoDevice;
  simt::SetDevice(device);
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorNoDevice);
  EXPECT_EQ(count, 0);
  EXPECT_EQ(cudaMalloc(&memory, 4), cudaErrorNoDevice);
  EXPECT_EQ(cudaDriverGetVersion(&version), cudaSuccess);
  EXPECT_EQ(version, 13000);

  device.presence = simt::Device::Presence::kNoDriver;
  simt::SetDevice(device);
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
  EXPECT_EQ(Launch(EmptyKernel, 1, 1, 0, nullptr), cudaErrorInsufficientDriver);
  EXPECT_EQ(cudaDriverGetVersion(&version), cudaSuccess);
  EXPECT_EQ(version, 0);
  EXPECT_EQ(cudaRuntimeGetVersion(&version), cudaSuccess);
  EXPECT_EQ(version, 13000);
}

TEST_F(SimtDeviceTest, OccupancyIsBoundByThreadsAndSharedMemory) {
  int blocks = 0;
  EXPECT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, EmptyKernel, 256, 0),
            cudaSuccess);
  EXPECT_EQ(blocks, 8);
  EXPECT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, EmptyKernel, 32, 0),
            cudaSuccess);
  EXPECT_EQ(blocks, 32);
  EXPECT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, EmptyKernel, 128, 80 << 10),
            cudaSuccess);
  EXPECT_EQ(blocks, 2);

  // A multiprocessor may hold less than two of the largest blocks.
  simt::SetDevice({.major = 8,
                   .minor = 9,
                   .shared_per_block = 99 << 10,
                   .shared_per_multiprocessor = 100 << 10,
                   .threads_per_multiprocessor = 1536});
  for (const auto& [threads, shared, expected] :
       {std::tuple{256, 0, 6}, {128, 39 << 10, 2}, {128, 60 << 10, 1}, {128, 100 << 10, 0}}) {
    EXPECT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, EmptyKernel, threads, shared),
              cudaSuccess);
    EXPECT_EQ(blocks, expected) << threads << " " << shared;
  }
}

TEST_F(SimtDeviceTest, NamesErrors) {
  EXPECT_EQ(std::string(cudaGetErrorName(cudaErrorNoDevice)), "cudaErrorNoDevice");
  EXPECT_EQ(std::string(cudaGetErrorString(cudaErrorMemoryAllocation)), "out of memory");
}

}  // namespace
}  // namespace kvasir::cuda
