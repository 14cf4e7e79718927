// Races are found whatever the schedule, and what is ordered is none.

#include <simt.h>

#include <string>
#include <vector>

#include "engine/backend/cuda/gpu.cuh"
#include "gmock/gmock.h"
#include "tests/engine/backend/cuda/device_testing.h"

namespace kvasir::cuda {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// What a kernel's races are under every schedule; its arguments: 4096 words of zeros.
template <class Check>
void ForEachRun(void (*kernel)(int*), dim3 grid, dim3 block, const Check& check) {
  for (const simt::Order order : {simt::Order::kInOrder, simt::Order::kReversed,
                                  simt::Order::kRandom, simt::Order::kPriority}) {
    simt::SetSchedule({order, 1});
    const DeviceArray<int> data(std::vector<int>(4096, 0));
    ASSERT_EQ(Launch(kernel, grid, block, 0, nullptr, data.get()), cudaSuccess);
    check(simt::TakeRaces());
  }
  simt::SetSchedule({});
}
void ExpectRace(void (*kernel)(int*), dim3 grid, dim3 block, const std::string& text) {
  ForEachRun(kernel, grid, block, [&](const std::vector<std::string>& races) {
    ASSERT_FALSE(races.empty());
    EXPECT_THAT(races[0], HasSubstr(text));
    EXPECT_THAT(races[0], HasSubstr("race_test.cu:"));
  });
}
void ExpectNone(void (*kernel)(int*), dim3 grid, dim3 block) {
  ForEachRun(kernel, grid, block,
             [](const std::vector<std::string>& races) { EXPECT_THAT(races, IsEmpty()); });
}

enum class With { kNothing, kBarrier, kSyncWarp, kShuffle };
template <With how>
__device__ __forceinline__ void Synchronize() {
  if constexpr (how == With::kBarrier) __syncthreads();
  if constexpr (how == With::kSyncWarp) __syncwarp();
  if constexpr (how == With::kShuffle) (void)__shfl_sync(kFullMask, 0, 0);
}

// Each thread reads what its neighbour wrote.
template <With how>
__global__ void Neighbour(int* out) {
  KVASIR_SHARED(int, values, [128]);
  const int thread = threadIdx.x;
  values[thread] = thread;
  Synchronize<how>();
  out[blockIdx.x * blockDim.x + thread] = values[(thread + 1) % blockDim.x];
}
// All threads of a warp read what is written next.
template <With how>
__global__ void ReadersThenWriter(int* out) {
  KVASIR_SHARED(int, value, [1]);
  const int thread = threadIdx.x;
  if (thread == 5) value[0] = 1;
  __syncthreads();
  out[blockIdx.x * blockDim.x + thread] = value[0];
  Synchronize<how>();
  if (thread == 5) value[0] = 2;
}

TEST(SimtRaceTest, SharedMemoryWantsABarrier) {
  ExpectRace(Neighbour<With::kNothing>, 1, 128, "shared memory");
  ExpectRace(Neighbour<With::kSyncWarp>, 1, 128, "shared memory");
  ExpectNone(Neighbour<With::kBarrier>, 3, 128);
  ExpectRace(ReadersThenWriter<With::kNothing>, 1, 64, "write after read");
  ExpectNone(ReadersThenWriter<With::kBarrier>, 2, 64);
}

TEST(SimtRaceTest, SyncWarpOrdersAWarpAndAShuffleDoesNot) {
  ExpectNone(Neighbour<With::kSyncWarp>, 2, 32);
  ExpectRace(Neighbour<With::kShuffle>, 1, 32, "shared memory");
  ExpectNone(ReadersThenWriter<With::kSyncWarp>, 1, 32);
  ExpectRace(ReadersThenWriter<With::kShuffle>, 1, 32, "write after read");
}

// Lanes that read before they met, and one that reads after, are all before the write.
__global__ void ReadersOfTwoIntervals(int* out) {
  KVASIR_SHARED(int, value, [1]);
  const int lane = threadIdx.x;
  if (lane == 0) value[0] = 1;
  __syncwarp();
  int sum = value[0];
  __syncwarp();
  if (lane == 3) {
    sum += value[0];
    value[0] = 7;
  }
  out[lane] = sum;
}

__global__ void HalvesOfAWord(int* out) {
  auto* const halves = reinterpret_cast<uint16_t*>(out);
  halves[threadIdx.x] = uint16_t(threadIdx.x);
}

TEST(SimtRaceTest, WhatIsOrderedIsNoRace) {
  ExpectNone(ReadersOfTwoIntervals, 1, 32);
  ExpectNone(HalvesOfAWord, 1, 64);
}

__global__ void BlocksWriteOneWord(int* out) {
  if (threadIdx.x == 0) out[0] = blockIdx.x;
}
__global__ void AtomicSum(int* out) { atomicAdd(out, 1); }
__global__ void PlainSum(int* out) { *out += 1; }

TEST(SimtRaceTest, GlobalMemory) {
  ExpectRace(BlocksWriteOneWord, 2, 32, "write after write of global memory");
  ExpectRace(PlainSum, 1, 32, "global memory");
  ExpectNone(AtomicSum, 4, 64);
}

TEST(SimtRaceTest, LaunchesAreOrdered) {
  const DeviceArray<int> data(1);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(Launch(BlocksWriteOneWord, 1, 32, 0, nullptr, data.get()), cudaSuccess);
  }
  EXPECT_THAT(simt::TakeRaces(), IsEmpty());
}

enum class Fences { kNone, kAll, kFirstAfter, kFirstBefore };
// Blocks leave parts; the last to come adds them up.  data: [2048] parts, ticket, sum
template <Fences fences>
__global__ void TicketSum(int* data) {
  KVASIR_SHARED(int, last, [1]);
  int* const ticket = data + 2048;
  data[blockIdx.x * 64 + threadIdx.x] = threadIdx.x;
  if (fences == Fences::kAll || (fences == Fences::kFirstBefore && threadIdx.x == 0)) {
    __threadfence();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    if (fences == Fences::kFirstAfter) __threadfence();
    last[0] = atomicAdd(ticket, 1) == int(gridDim.x) - 1;
  }
  __syncthreads();
  if (last[0] == 0) return;
  int sum = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) sum += data[i * 64 + threadIdx.x];
  atomicAdd(ticket + 1, sum);
}

TEST(SimtRaceTest, BlocksWantAFenceBeforeTheAtomic) {
  ExpectNone(TicketSum<Fences::kAll>, 5, 64);
  ExpectNone(TicketSum<Fences::kFirstAfter>, 5, 64);
  ExpectRace(TicketSum<Fences::kNone>, 5, 64, "read after write of global memory");
  // It covers what the others wrote only where it comes after they met.
  ExpectRace(TicketSum<Fences::kFirstBefore>, 5, 64, "read after write of global memory");
}

enum class Copied { kRight, kNoWait, kNoBarrier, kReused };
// Threads copy a row each and read that of their neighbour.
template <Copied how>
__global__ void CopyRows(int* data) {
  KVASIR_SHARED(int, rows, [64][4]);
  const int thread = threadIdx.x;
  CopyAsync16(rows[thread], data + 4 * thread);
  CopyAsyncCommit();
  if (how != Copied::kNoWait) CopyAsyncWait<0>();
  if (how != Copied::kNoBarrier) __syncthreads();
  const int value = rows[(thread + 40) % 64][0];
  if (how == Copied::kReused) CopyAsync16(rows[thread], data + 1024 + 4 * thread);
  data[2048 + thread] = value;
}

TEST(SimtRaceTest, CopiesAreUnderWayUntilTheyAreWaitedFor) {
  ExpectNone(CopyRows<Copied::kRight>, 1, 64);
  ExpectRace(CopyRows<Copied::kNoWait>, 1, 64, "shared memory");
  ExpectRace(CopyRows<Copied::kNoBarrier>, 1, 64, "shared memory");
  ExpectRace(CopyRows<Copied::kReused>, 1, 64, "shared memory");
}

template <With how>
__global__ void LoadFragments(int* data) {
  KVASIR_SHARED(uint16_t, rows, [32][8]);
  for (int i = 0; i < 8; ++i) rows[threadIdx.x][i] = uint16_t(i);
  Synchronize<how>();
  uint32_t r[4];
  LoadMatrices(r, rows[(threadIdx.x + 3) % 32]);
  for (int i = 0; i < 4; ++i) data[threadIdx.x * 4 + i] = int(r[i]);
}

TEST(SimtRaceTest, MatricesAreReadByTheLaneThatNamesTheRow) {
  ExpectNone(LoadFragments<With::kSyncWarp>, 1, 32);
  ExpectRace(LoadFragments<With::kNothing>, 1, 32, "read after write of shared memory");
}

TEST(SimtRaceTest, EachPairOfPlacesIsToldOnce) {
  const DeviceArray<int> data(1);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(Launch(BlocksWriteOneWord, 8, 32, 0, nullptr, data.get()), cudaSuccess);
  }
  EXPECT_THAT(simt::TakeRaces(), SizeIs(1));
  EXPECT_THAT(simt::TakeRaces(), IsEmpty());
}

TEST(SimtRaceTest, RacesThatNobodyTookEndTheProcess) {
  EXPECT_EXIT(
      {
        const DeviceArray<int> data(1);
        (void)Launch(BlocksWriteOneWord, 2, 32, 0, nullptr, data.get());
        std::exit(0);
      },
      testing::ExitedWithCode(simt::kErrorExit), "SIMT RACE");
}

}  // namespace
}  // namespace kvasir::cuda
