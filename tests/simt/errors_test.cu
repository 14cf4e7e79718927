// What a GPU leaves undefined ends the process here, with the block, thread and line.

#include <simt.h>

#include "engine/backend/cuda/gpu.cuh"
#include "tests/engine/backend/cuda/device_testing.h"

namespace kvasir::cuda {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kAddressSanitizer = true;
#else
constexpr bool kAddressSanitizer = false;
#endif

template <class... Params, class... Args>
void RunKernel(void (*kernel)(Params...), int threads, Args... args) {
  ASSERT_EQ(Launch(kernel, 2, threads, 0, nullptr, args...), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}
#define EXPECT_SIMT_ERROR(statement, message) \
  EXPECT_EXIT(statement, testing::ExitedWithCode(simt::kErrorExit), message)

__global__ void NotInMask() { (void)__shfl_sync(0x0000ffffu, 1, 0); }
__global__ void ReadsOutsideMask() {
  if (threadIdx.x < 16) (void)__shfl_sync(0x0000ffffu, 1, 20);
}
__global__ void ReadsExited() {
  if (threadIdx.x >= 16) return;
  (void)__shfl_sync(kFullMask, 1, 20);
}
__global__ void DivergentCollective() {
  if (threadIdx.x < 5) {
    (void)__ballot_sync(kFullMask, 1);
  } else {
    __syncwarp();
  }
}
__global__ void DifferentMasks() {
  (void)__ballot_sync(threadIdx.x < 16 ? kFullMask : 0xffffff00u, 1);
}

TEST(SimtErrorTest, WarpCollectives) {
  EXPECT_SIMT_ERROR(RunKernel(NotInMask, 32),
                    "not in its mask(.|\n)*errors_test.cu:[0-9]+(.|\n)*thread \\(16,0,0\\)");
  EXPECT_SIMT_ERROR(RunKernel(ReadsOutsideMask, 32), "not in the mask(.|\n)*lane 20");
  EXPECT_SIMT_ERROR(RunKernel(ReadsExited, 32), "reads an exited lane(.|\n)*errors_test.cu");
  EXPECT_SIMT_ERROR(RunKernel(DivergentCollective, 32),
                    "divergent warp collective(.|\n)*__ballot_sync");
  EXPECT_SIMT_ERROR(RunKernel(DifferentMasks, 32), "divergent warp collective(.|\n)*mask ffffff00");
}

__global__ void DivergentBarrier() {
  if (threadIdx.x == 33) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void Deadlock() {
  if (threadIdx.x != 40) __syncwarp();
  __syncthreads();
}

TEST(SimtErrorTest, Barriers) {
  EXPECT_SIMT_ERROR(RunKernel(DivergentBarrier, 64),
                    "divergent __syncthreads(.|\n)*block \\(0,0,0\\)");
  EXPECT_SIMT_ERROR(RunKernel(Deadlock, 64),
                    "deadlock(.|\n)*33 threads wait in __syncthreads(.|\n)*31 threads wait in "
                    "__syncwarp at .*errors_test.cu:[0-9]+ mask ffffffff");
}

__global__ void MisalignedMatrices() {
  KVASIR_SHARED(uint16_t, rows, [40][8]);
  uint32_t r[4];
  LoadMatrices(r, &rows[threadIdx.x][threadIdx.x == 9 ? 4 : 0]);
}
__global__ void MisalignedCopy(const float* from) {
  KVASIR_SHARED(float, to, [36]);
  CopyAsync16(&to[threadIdx.x == 3 ? 1 : 0], from);
}
__global__ void MultiplyWithoutAll() {
  if (threadIdx.x == 31) return;
  float d[4] = {};
  MultiplyAccumulate(d, {1, 2, 3, 4}, {1, 2});
}
__global__ void TooMuchStatic() {
  KVASIR_SHARED(float, large, [12 << 10]);
  KVASIR_SHARED(float, more, [1]);
  large[0] = more[0] = 0;
}
__global__ void Trap() {
  if (blockIdx.x == 1) __trap();
}

TEST(SimtErrorTest, OperationsInPtx) {
  EXPECT_SIMT_ERROR(RunKernel(MisalignedMatrices, 32), "not 16-byte aligned(.|\n)*lane 9");
  const DeviceArray<float> from(4);
  EXPECT_SIMT_ERROR(RunKernel(MisalignedCopy, 32, from.get()),
                    "cp.async address is not 16-byte aligned");
  EXPECT_SIMT_ERROR(RunKernel(MultiplyWithoutAll, 32), "the whole warp must take part");
  EXPECT_SIMT_ERROR(RunKernel(TooMuchStatic, 1), "static shared memory over 48 KiB");
  EXPECT_SIMT_ERROR(RunKernel(Trap, 1), "__trap(.|\n)*block \\(1,0,0\\)");
}

__global__ void Store(float* to, int i) { to[i] = 1; }
__global__ void Load(float* to, const float* from, int i) { to[0] = from[i]; }
__global__ void StoreShared(int i) {
  KVASIR_DYNAMIC_SHARED(float, shared);
  shared[i] = 1;
}

// Runs with so many bytes of dynamic shared memory.
void RunShared(int bytes, int i) {
  ASSERT_EQ(Launch(StoreShared, 1, 1, bytes, nullptr, i), cudaSuccess);
}

TEST(SimtErrorTest, OutOfBounds) {
  const DeviceArray<float> data(64);  // ends with its page
  const char* const message =
      kAddressSanitizer ? "AddressSanitizer" : "illegal memory access(.|\n)*block \\(0,0,0\\)";
  EXPECT_DEATH(RunKernel(Store, 1, data.get(), 64), message);
  EXPECT_DEATH(RunKernel(Load, 1, data.get(), data.get(), 64), message);
  EXPECT_DEATH(RunKernel(Load, 1, data.get(), data.get(), -1024), message);
  void* freed = nullptr;
  ASSERT_EQ(cudaMalloc(&freed, 64), cudaSuccess);
  ASSERT_EQ(cudaFree(freed), cudaSuccess);
  EXPECT_DEATH(RunKernel(Load, 1, data.get(), static_cast<const float*>(freed), 0),
               kAddressSanitizer ? "AddressSanitizer|host memory" : "host memory");
  if (kAddressSanitizer) {
    RunShared(396, 98);
    EXPECT_DEATH(RunShared(396, 99), "AddressSanitizer");
  }
}

TEST(SimtErrorTest, AFewBytesPastTheEndAreSeenWhenItIsFreed) {
  void* data = nullptr;
  ASSERT_EQ(cudaMalloc(&data, 60), cudaSuccess);
  EXPECT_DEATH(
      {
        RunKernel(Store, 1, static_cast<float*>(data), 15);
        (void)cudaFree(data);
      },
      kAddressSanitizer ? "AddressSanitizer" : "written past its end(.|\n)*byte 6[0-3]");
  EXPECT_EQ(cudaFree(data), cudaSuccess);
}

TEST(SimtErrorTest, HostAndDeviceMemoryAreTwoThings) {
  float host[4] = {};
  EXPECT_SIMT_ERROR(RunKernel(Store, 1, &host[0], 0), "pointer to host memory(.|\n)*argument 0");
  if (kAddressSanitizer) {
    const DeviceArray<float> data(4);
    EXPECT_DEATH(data.get()[0] = 1, "AddressSanitizer");
  }
}

TEST(SimtErrorTest, PoisonedMemoryIsNotTouched) {
  if (!kAddressSanitizer) return;
  const DeviceArray<float> data(64);
  simt::Poison(data.get() + 16, 64);
  RunKernel(Store, 1, data.get(), 15);
  EXPECT_DEATH(RunKernel(Store, 1, data.get(), 16), "AddressSanitizer");
  RunKernel(Store, 1, data.get(), 32);
  simt::Unpoison(data.get() + 16);
  RunKernel(Store, 1, data.get(), 16);
}

}  // namespace
}  // namespace kvasir::cuda
