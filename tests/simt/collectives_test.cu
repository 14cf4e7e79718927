// What threads compute together, against plain loops, under every schedule.

#include <simt.h>

#include <set>
#include <vector>

#include "engine/backend/cuda/gpu.cuh"
#include "tests/engine/backend/cuda/device_testing.h"

namespace kvasir::cuda {
namespace {

constexpr int kShuffles = 6;

// out: [kShuffles, 32]
__global__ void ShuffleKernel(int* out) {
  const int lane = threadIdx.x;
  const int value = 100 + lane;
  out[lane] = __shfl_sync(kFullMask, value, 7);
  out[32 + lane] = __shfl_xor_sync(kFullMask, value, 5);
  out[64 + lane] = __shfl_down_sync(kFullMask, value, 3);
  out[96 + lane] = __shfl_up_sync(kFullMask, value, 2);
  out[128 + lane] = __shfl_sync(kFullMask, value, 11, 8);
  out[160 + lane] = __shfl_down_sync(kFullMask, value, 3, 8);
}

TEST(SimtShuffleTest, ReadsTheNamedLane) {
  ForEachSchedule([] {
    DeviceArray<int> out(32 * kShuffles);
    ASSERT_EQ(Launch(ShuffleKernel, 1, 32, 0, nullptr, out.get()), cudaSuccess);
    const std::vector<int> values = out.Read();
    for (int lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(values[lane], 107);
      EXPECT_EQ(values[32 + lane], 100 + (lane ^ 5));
      EXPECT_EQ(values[64 + lane], 100 + (lane + 3 < 32 ? lane + 3 : lane));
      EXPECT_EQ(values[96 + lane], 100 + (lane >= 2 ? lane - 2 : lane));
      EXPECT_EQ(values[128 + lane], 100 + lane / 8 * 8 + 3);
      EXPECT_EQ(values[160 + lane], 100 + (lane % 8 + 3 < 8 ? lane + 3 : lane));
    }
  });
}

// out: [5, threads]
__global__ void VoteKernel(unsigned* out) {
  const unsigned thread = threadIdx.x;
  const unsigned threads = blockDim.x;
  const unsigned mask = thread < 32 ? kFullMask : 0xff;
  out[thread] = __ballot_sync(mask, thread % 3 == 0);
  out[threads + thread] = __any_sync(mask, thread == 35);
  out[2 * threads + thread] = __all_sync(mask, thread >= 32);
  out[3 * threads + thread] = __reduce_add_sync(mask, thread);
  out[4 * threads + thread] = unsigned(__reduce_max_sync(mask, -int(thread)));
}

TEST(SimtVoteTest, CountsTheLanesThatExist) {
  ForEachSchedule([] {
    DeviceArray<unsigned> out(5 * 40);
    ASSERT_EQ(Launch(VoteKernel, 1, 40, 0, nullptr, out.get()), cudaSuccess);
    const std::vector<unsigned> values = out.Read();
    for (unsigned thread = 0; thread < 40; ++thread) {
      const bool second = thread >= 32;
      EXPECT_EQ(values[thread], second ? 0x92u : 0x49249249u) << thread;
      EXPECT_EQ(values[40 + thread], second);
      EXPECT_EQ(values[80 + thread], second);
      EXPECT_EQ(values[120 + thread], second ? 284u : 496u);
      EXPECT_EQ(int(values[160 + thread]), second ? -32 : 0);
    }
  });
}

// out: [4] or, and, count, sum of what the others wrote
__global__ void BarrierKernel(int* out, int threads) {
  KVASIR_SHARED(int, values, [128]);
  const int thread = threadIdx.x;
  if (thread >= threads) return;
  values[thread] = thread;
  const int any = __syncthreads_or(thread == 70);
  const int all = __syncthreads_and(thread != 70);
  const int count = __syncthreads_count(thread % 2);
  if (thread == 1) {
    int sum = 0;
    for (int i = 0; i < threads; ++i) sum += values[i];
    out[0] = any;
    out[1] = all;
    out[2] = count;
    out[3] = sum;
  }
}

TEST(SimtBarrierTest, WaitsForThoseThatHaveNotReturned) {
  ForEachSchedule([] {
    DeviceArray<int> out(4);
    ASSERT_EQ(Launch(BarrierKernel, 1, 128, 0, nullptr, out.get(), 100), cudaSuccess);
    EXPECT_EQ(out.Read(), (std::vector<int>{1, 0, 50, 4950}));
    ASSERT_EQ(Launch(BarrierKernel, 1, 128, 0, nullptr, out.get(), 50), cudaSuccess);
    EXPECT_EQ(out.Read(), (std::vector<int>{0, 1, 25, 1225}));
  });
}

__global__ void HalfWarpKernel(int* out) {
  const int lane = threadIdx.x;
  if (lane >= 16) return;
  out[lane] = __shfl_xor_sync(kFullMask, lane, 1);  // the mask may name lanes that have exited
}

TEST(SimtCollectiveTest, ExitedLanesAreNotWaitedFor) {
  ForEachSchedule([] {
    DeviceArray<int> out(16);
    ASSERT_EQ(Launch(HalfWarpKernel, 1, 32, 0, nullptr, out.get()), cudaSuccess);
    const std::vector<int> values = out.Read();
    for (int lane = 0; lane < 16; ++lane) EXPECT_EQ(values[lane], lane ^ 1);
  });
}

// Two groups of lanes wait in collectives of their own; the last lane of each exits instead.
__global__ void GroupsKernel(unsigned* out) {
  const int lane = threadIdx.x;
  const unsigned mask = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  if (lane % 16 == 15) return;
  out[lane] = lane < 16 ? __ballot_sync(mask, 1) : __ballot_sync(mask, lane % 2);
}

TEST(SimtCollectiveTest, AnExitReleasesEveryGroupThatWaitedForIt) {
  ForEachSchedule([] {
    DeviceArray<unsigned> out(32);
    ASSERT_EQ(Launch(GroupsKernel, 1, 32, 0, nullptr, out.get()), cudaSuccess);
    const std::vector<unsigned> values = out.Read();
    EXPECT_EQ(values[0], 0x7fffu);
    EXPECT_EQ(values[16], 0x2aaa0000u);
  });
}

__global__ void PositionKernel(unsigned* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}

TEST(SimtLaunchTest, EveryThreadRunsOnce) {
  ForEachSchedule([] {
    DeviceArray<unsigned> out(2 * 3 * 4 * 5 * 3 * 2);
    ASSERT_EQ(Launch(PositionKernel, dim3(2, 3, 4), dim3(5, 3, 2), 0, nullptr, out.get()),
              cudaSuccess);
    const std::vector<unsigned> values = out.Read();
    for (unsigned i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], i / 30 * 1000 + i % 30);
  });
}

// words: [6] of zeros
__global__ void AtomicKernel(int* words, float* sum) {
  const int thread = threadIdx.x + blockIdx.x * blockDim.x;
  atomicAdd(&words[0], thread);
  atomicMax(&words[1], thread);
  atomicMin(&words[2], -thread);
  atomicOr(&words[3], 1 << thread % 8);
  atomicInc(reinterpret_cast<unsigned*>(&words[4]), 9u);
  int seen = words[5];
  for (int old; (old = atomicCAS(&words[5], seen, seen + 2)) != seen;) seen = old;
  atomicAdd(sum, 0.5f);
}

TEST(SimtAtomicTest, NoUpdateIsLost) {
  ForEachSchedule([] {
    DeviceArray<int> words(std::vector<int>(6, 0));
    DeviceArray<float> sum(std::vector<float>(1, 0));
    ASSERT_EQ(Launch(AtomicKernel, 3, 64, 0, nullptr, words.get(), sum.get()), cudaSuccess);
    EXPECT_EQ(words.Read(), (std::vector<int>{191 * 192 / 2, 191, -191, 0xff, 192 % 10, 384}));
    EXPECT_EQ(sum.Read()[0], 96.0f);
  });
}

// out: [4, 32] words: before the wait, after it, a row of zeros, what shared memory holds at first
__global__ void CopyKernel(uint32_t* out, const uint32_t* from) {
  KVASIR_SHARED(uint32_t, first, [32][4]);
  KVASIR_SHARED(uint32_t, zeros, [32][4]);
  KVASIR_DYNAMIC_SHARED(uint32_t, dynamic);
  const int lane = threadIdx.x;
  CopyAsync16(first[lane], from + 4 * lane);
  out[lane] = first[lane][1];
  CopyAsyncCommit();
  CopyAsync16(zeros[lane], from, false);
  CopyAsyncCommit();
  CopyAsyncWait<1>();
  out[32 + lane] = first[lane][1];
  CopyAsyncWait<0>();
  out[64 + lane] = zeros[lane][3];
  out[96 + lane] = dynamic[lane];
}

TEST(SimtCopyAsyncTest, LandsBetweenTheCommitAndTheWait) {
  std::vector<uint32_t> from(128);
  for (uint32_t i = 0; i < from.size(); ++i) from[i] = i;
  ForEachSchedule([&] {
    DeviceArray<uint32_t> in(from);
    DeviceArray<uint32_t> out(128);
    ASSERT_EQ(Launch(CopyKernel, 2, 32, 128, nullptr, out.get(), in.get()), cudaSuccess);
    const std::vector<uint32_t> values = out.Read();
    for (uint32_t lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(values[lane], ~0u);
      EXPECT_EQ(values[32 + lane], 4 * lane + 1);
      EXPECT_EQ(values[64 + lane], 0u);
      EXPECT_EQ(values[96 + lane], ~0u);
    }
  });
}

__global__ void OrderKernel(int* order, int* next) {
  order[atomicAdd(next, 1)] = threadIdx.x + blockIdx.x * blockDim.x;
}

TEST(SimtScheduleTest, DecidesTheOrderAndRepeatsIt) {
  const auto order = [](const simt::Schedule& schedule) {
    simt::SetSchedule(schedule);
    DeviceArray<int> values(4 * 64);
    DeviceArray<int> next(std::vector<int>(1, 0));
    EXPECT_EQ(Launch(OrderKernel, 4, 64, 0, nullptr, values.get(), next.get()), cudaSuccess);
    return values.Read();
  };
  std::set<std::vector<int>> orders;
  for (const simt::Order kind : {simt::Order::kInOrder, simt::Order::kReversed,
                                 simt::Order::kRandom, simt::Order::kPriority}) {
    for (const uint64_t seed : {1, 2}) {
      const std::vector<int> once = order({kind, seed});
      EXPECT_EQ(order({kind, seed}), once);
      orders.insert(once);
    }
  }
  simt::SetSchedule({});
  EXPECT_EQ(orders.size(), 2 + 2 + 2);  // the seed is nothing to the first two
}

}  // namespace
}  // namespace kvasir::cuda
