// Traffic against what can be counted by hand.

#include <simt_counts.h>

#include <string>
#include <vector>

#include "engine/backend/cuda/gpu.cuh"
#include "gmock/gmock.h"
#include "tests/engine/backend/cuda/device_testing.h"

namespace kvasir::cuda {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Key;
using testing::Pair;

// What one launch did, on 64 KiB of zeros.
simt::KernelCounts CountsOf(void (*kernel)(float*), dim3 grid, dim3 block) {
  const DeviceArray<float> data(std::vector<float>(16 << 10, 0));
  (void)simt::TakeCounts();
  EXPECT_EQ(Launch(kernel, grid, block, 0, nullptr, data.get()), cudaSuccess);
  const auto counts = simt::TakeCounts();
  EXPECT_EQ(counts.size(), 1);
  return counts.empty() ? simt::KernelCounts{} : counts.begin()->second;
}

// Loads of 16 bytes, in every manner of writing them. All read [0, 512) bytes but for Twice.
__global__ void Assigned(float* data) {
  const float4 v = reinterpret_cast<const float4*>(data)[threadIdx.x];
  data[1024 + threadIdx.x] = v.x + v.y + v.z + v.w;
}
__global__ void ByLdg(float* data) {
  const uint4 v = __ldg(reinterpret_cast<const uint4*>(data) + threadIdx.x);
  data[1024 + threadIdx.x] = LowToFloat(v.x) + LowToFloat(v.y) + HighToFloat(v.w);
}
__global__ void Once(float* data) {
  const uint4 v = LoadOnce16(data + 4 * threadIdx.x);
  data[1024 + threadIdx.x] = LowToFloat(v.x) + LowToFloat(v.y) + HighToFloat(v.w);
}
__device__ __forceinline__ float Sum(float4 v) { return v.x + v.y + v.z + v.w; }
__global__ void Passed(float* data) {
  data[1024 + threadIdx.x] = Sum(reinterpret_cast<const float4*>(data)[threadIdx.x]);
}
__global__ void Changed(float* data) {
  float4 v = reinterpret_cast<const float4*>(data)[threadIdx.x];
  v.y += 1;
  data[1024 + threadIdx.x] = v.x + v.y;
}

TEST(SimtCountsTest, SixteenBytesAreOneLoad) {
  for (auto* const kernel : {Assigned, ByLdg, Once, Passed, Changed}) {
    const simt::KernelCounts counts = CountsOf(kernel, 1, 32);
    EXPECT_EQ(counts.launches, 1);
    EXPECT_EQ(counts.load_bytes, 512);
    EXPECT_EQ(counts.full_load_bytes, 512);
    EXPECT_EQ(counts.load_sectors, 16);
    EXPECT_EQ(counts.distinct_load_sectors, 16);
    EXPECT_EQ(counts.store_bytes, 128);
    EXPECT_EQ(counts.store_sectors, 4);
    EXPECT_EQ(counts.distinct_store_sectors, 4);
    EXPECT_EQ(counts.shared_wavefronts, 0);
  }
}

template <int stride, int offset>
__global__ void Strided(float* data) {
  data[8192 + threadIdx.x] = data[offset + threadIdx.x * stride];
}
__global__ void StridedVectors(float* data) {
  const float4 v = reinterpret_cast<const float4*>(data)[2 * threadIdx.x];
  data[8192 + threadIdx.x] = Sum(v);
}
__global__ void Broadcast(float* data) { data[8192 + threadIdx.x] = data[blockIdx.x]; }

TEST(SimtCountsTest, SectorsAreCountedAWarpInstruction) {
  simt::KernelCounts counts = CountsOf(Strided<1, 0>, 1, 32);
  EXPECT_EQ(counts.load_sectors, 4);
  EXPECT_EQ(counts.full_load_bytes, 0);
  EXPECT_EQ(CountsOf(Strided<1, 1>, 1, 32).load_sectors, 5);
  EXPECT_EQ(CountsOf(Strided<2, 0>, 1, 32).load_sectors, 8);
  EXPECT_EQ(CountsOf(Strided<8, 0>, 1, 32).load_sectors, 32);
  EXPECT_EQ(CountsOf(Strided<64, 0>, 1, 32).load_sectors, 32);
  counts = CountsOf(Strided<1, 0>, 1, 64);
  EXPECT_EQ(counts.load_sectors, 8);
  counts = CountsOf(StridedVectors, 1, 32);
  EXPECT_EQ(counts.load_bytes, 512);
  EXPECT_EQ(counts.load_sectors, 32);
  EXPECT_EQ(counts.full_load_bytes, 0);  // half of every sector is for nothing
}

TEST(SimtCountsTest, DistinctSectorsAreCountedALaunch) {
  simt::KernelCounts counts = CountsOf(Broadcast, 4, 32);
  EXPECT_EQ(counts.load_bytes, 4 * 128);
  EXPECT_EQ(counts.load_sectors, 4);
  EXPECT_EQ(counts.distinct_load_sectors, 1);
  EXPECT_EQ(counts.store_sectors, 16);
  EXPECT_EQ(counts.distinct_store_sectors, 4);
}

TEST(SimtCountsTest, LaunchesAddUpByName) {
  const DeviceArray<float> data(std::vector<float>(16 << 10, 0));
  (void)simt::TakeCounts();
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(Launch(Broadcast, 1, 32, 0, nullptr, data.get()), cudaSuccess);
  }
  ASSERT_EQ(Launch(Strided<2, 0>, 1, 32, 0, nullptr, data.get()), cudaSuccess);
  const auto counts = simt::TakeCounts();
  EXPECT_THAT(counts, ElementsAre(Key("kvasir::cuda::(anonymous namespace)::Broadcast"),
                                  Key("kvasir::cuda::(anonymous namespace)::Strided<2, 0>")));
  EXPECT_EQ(counts.begin()->second.launches, 3);
  EXPECT_EQ(counts.begin()->second.distinct_load_sectors, 3);
  EXPECT_THAT(simt::TakeCounts(), IsEmpty());
}

// Lane i goes round i % 4 + 1 times; the warp's n-th instruction has the lanes that are still
// there.
__global__ void Loop(float* data) {
  float sum = 0;
  for (unsigned i = 0; i <= threadIdx.x % 4; ++i) sum += data[32 * i + threadIdx.x];
  data[8192 + threadIdx.x] = sum;
}
// Lanes meet between two passages of one instruction.
__global__ void LoopThatMeets(float* data) {
  float sum = 0;
  for (unsigned i = 0; i < 4; ++i) {
    if (threadIdx.x >= 8 * i) sum += data[threadIdx.x];
    __syncwarp();
  }
  data[8192 + threadIdx.x] = sum;
}

TEST(SimtCountsTest, LanesGoRoundALoopTogether) {
  simt::KernelCounts counts = CountsOf(Loop, 1, 32);
  EXPECT_EQ(counts.load_bytes, (32 + 24 + 16 + 8) * 4);
  EXPECT_EQ(counts.load_sectors, 16);
  counts = CountsOf(LoopThatMeets, 1, 32);
  EXPECT_EQ(counts.load_sectors, 4 + 3 + 2 + 1);
}

struct Large {
  float values[12];
};
__global__ void Structure(float* data) {
  const Large large = reinterpret_cast<const Large*>(data)[threadIdx.x];
  data[8192 + threadIdx.x] = large.values[3] + large.values[11];
}
__global__ void Atomic(float* data) { atomicAdd(data + threadIdx.x, 1.0f); }

TEST(SimtCountsTest, StructuresAndAtomics) {
  simt::KernelCounts counts = CountsOf(Structure, 1, 32);
  EXPECT_EQ(counts.load_bytes, 32 * 48);
  EXPECT_EQ(counts.distinct_load_sectors, 48);
  EXPECT_GE(counts.load_sectors, 2 * 32);  // 48 bytes apart, three times 16
  counts = CountsOf(Atomic, 1, 32);
  EXPECT_EQ(counts.load_bytes, 0);
  EXPECT_EQ(counts.store_sectors, 4);
}

template <int pitch>  // words from lane to lane
__global__ void SharedWords(float* data) {
  KVASIR_SHARED(float, words, [32 * pitch]);
  words[threadIdx.x * pitch] = 1;
  __syncwarp();
  data[threadIdx.x] = words[threadIdx.x * pitch];
}
__global__ void SharedBroadcast(float* data) {
  KVASIR_SHARED(float, words, [32]);
  words[threadIdx.x] = 1;
  __syncwarp();
  data[threadIdx.x] = words[7];
}
template <int pitch>  // vectors from lane to lane
__global__ void SharedVectors(float* data) {
  KVASIR_SHARED(float4, vectors, [32 * pitch]);
  vectors[threadIdx.x * pitch] = make_float4(1, 2, 3, 4);
  __syncwarp();
  data[threadIdx.x] = Sum(vectors[threadIdx.x * pitch]);
}

TEST(SimtCountsTest, BankConflictsOfSharedMemory) {
  // A store and a load each.
  const auto conflicts = [](void (*kernel)(float*)) {
    return CountsOf(kernel, 1, 32).bank_conflicts;
  };
  EXPECT_EQ(CountsOf(SharedWords<1>, 1, 32).shared_wavefronts, 2);
  EXPECT_EQ(conflicts(SharedWords<1>), 0);
  EXPECT_EQ(conflicts(SharedWords<2>), 2 * 1);
  EXPECT_EQ(conflicts(SharedWords<16>), 2 * 15);
  EXPECT_EQ(conflicts(SharedWords<32>), 2 * 31);
  EXPECT_EQ(conflicts(SharedWords<33>), 0);
  EXPECT_EQ(conflicts(SharedBroadcast), 0);
  EXPECT_EQ(CountsOf(SharedVectors<1>, 1, 32).shared_wavefronts, 2 * 4);
  EXPECT_EQ(conflicts(SharedVectors<1>), 0);
  EXPECT_EQ(conflicts(SharedVectors<2>), 2 * 4 * 1);
  EXPECT_EQ(conflicts(SharedVectors<3>), 0);
  EXPECT_EQ(conflicts(SharedVectors<8>), 2 * 4 * 7);
}

template <int pitch>  // elements from row to row
__global__ void Matrices(float* data) {
  KVASIR_SHARED(uint16_t, rows, [32 * pitch]);
  uint32_t r[4];
  LoadMatrices(r, rows + threadIdx.x * pitch);
  data[threadIdx.x] = float(r[0]);
}
__global__ void Copies(float* data) {
  KVASIR_SHARED(float4, rows, [32 * 2]);
  CopyAsync16(rows + threadIdx.x * 2, data + 4 * threadIdx.x);
  CopyAsync16(rows + threadIdx.x * 2 + 1, data, false);
  CopyAsyncCommit();
  CopyAsyncWait<0>();
}

TEST(SimtCountsTest, MatricesAndCopies) {
  simt::KernelCounts counts = CountsOf(Matrices<8>, 1, 32);
  EXPECT_EQ(counts.shared_wavefronts, 4);
  EXPECT_EQ(counts.bank_conflicts, 0);
  EXPECT_EQ(CountsOf(Matrices<72>, 1, 32).bank_conflicts, 0);
  counts = CountsOf(Matrices<64>, 1, 32);
  EXPECT_EQ(counts.bank_conflicts, 4 * 7);
  EXPECT_THAT(counts.conflict_lines, ElementsAre(Pair(HasSubstr("counts_test.cu:"), 28)));
  counts = CountsOf(Copies, 1, 32);
  EXPECT_EQ(counts.load_bytes, 512);
  EXPECT_EQ(counts.full_load_bytes, 512);
  EXPECT_EQ(counts.load_sectors, 16);
  EXPECT_EQ(counts.shared_wavefronts, 2 * 8);
  EXPECT_EQ(counts.bank_conflicts, 2 * 4);
}

__global__ void Products(float* data) {
  float d[4] = {};
  for (int i = 0; i < 3; ++i) MultiplyAccumulate(d, {1, 2, 3, 4}, {5, 6});
  data[threadIdx.x] = d[0];
}

TEST(SimtCountsTest, TensorOperations) {
  EXPECT_EQ(CountsOf(Products, 2, 64).tensor_flops, 2 * 2 * 3 * 4096);
}

}  // namespace
}  // namespace kvasir::cuda
