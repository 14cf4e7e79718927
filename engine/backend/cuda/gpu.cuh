// The one header that kernels include: what they need of the GPU beyond CUDA C++, each operation
// with a body in PTX. The same kernels run on a CPU where tests/simt stands in for the toolkit.
#ifndef KVASIR_ENGINE_BACKEND_CUDA_GPU_CUH_
#define KVASIR_ENGINE_BACKEND_CUDA_GPU_CUH_

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <utility>

namespace kvasir::cuda {

using bf16 = __nv_bfloat16;

inline constexpr unsigned kFullMask = 0xffffffffu;
inline constexpr int kWarp = 32;  // threads

// KVASIR_SHARED(float, tile, [16][17]): a block's static shared memory.
// KVASIR_DYNAMIC_SHARED(bf16, memory): its dynamic shared memory, 128-byte aligned.
// The operations in PTX, see below for what they do.
#if defined(KVASIR_SIMT)
}  // namespace kvasir::cuda
#include <simt_ptx.h>
namespace kvasir::cuda {
#define KVASIR_SHARED(T, name, dims) SIMT_SHARED(T, name, dims)
#define KVASIR_DYNAMIC_SHARED(T, name) SIMT_DYNAMIC_SHARED(T, name)
#else
#define KVASIR_SHARED(T, name, dims) __shared__ __align__(128) T name dims
#define KVASIR_DYNAMIC_SHARED(T, name)                                  \
  extern __shared__ __align__(128) unsigned char kvasir_dynamic_smem[]; \
  T* const name = reinterpret_cast<T*>(kvasir_dynamic_smem)

__device__ __forceinline__ uint32_t SharedAddress(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
// 16 bytes from global to shared memory, past the registers and L1; zeros where `valid` is not.
// Both 16-byte aligned; where !valid `from` is not read.
__device__ __forceinline__ void CopyAsync16(void* to, const void* from, bool valid = true) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(SharedAddress(to)), "l"(from),
               "r"(bytes)
               : "memory");
}
// Closes this thread's group of copies.
__device__ __forceinline__ void CopyAsyncCommit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until at most N of this thread's groups are under way.
template <int N>
__device__ __forceinline__ void CopyAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
// Four 8 x 8 matrices of 16-bit elements; lane 8 i + r names row r of matrix i. Lane l receives of
// each row l / 4 the elements 2 (l % 4) and the next one.
__device__ __forceinline__ void LoadMatrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(row))
               : "memory");
}
// The same, each matrix transposed.
__device__ __forceinline__ void LoadMatricesTransposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(row))
               : "memory");
}
// d [16, 8] f32 += a [16, 16] bf16 times b [16, 8] bf16 (PTX ISA, mma.m16n8k16). With g = lane / 4,
// t = lane % 4:  a = {(g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8)}, b = {(2t, g), (2t + 8,
// g)}, pairs along k;  d = {(g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)}.
__device__ __forceinline__ void MultiplyAccumulate(float (&d)[4], const uint32_t (&a)[4],
                                                   const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// 16 bytes that are read once: weights. Past L1.
__device__ __forceinline__ uint4 LoadOnce16(const void* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}
#endif

__host__ __device__ constexpr int CeilDiv(int a, int b) { return (a + b - 1) / b; }

// Launches without <<<>>>, so that one source serves both compilers.
template <class... Params, class... Args>
cudaError_t Launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, Args&&... args) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...);
}

// Brings the kernel's code to the current device, which a first launch would do, but not while a
// graph is recorded; and grants it its dynamic shared memory.
template <class... Params>
cudaError_t LoadKernel(void (*kernel)(Params...), size_t shared_bytes = 0) {
  cudaFuncAttributes attributes{};
  const cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
  if (error != cudaSuccess || shared_bytes == 0) return error;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(shared_bytes));
}
// Two bf16 in a word, the lower half first.
__device__ __forceinline__ float LowToFloat(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float HighToFloat(uint32_t pair) {
  return __uint_as_float(pair & 0xffff0000u);
}
__device__ __forceinline__ uint32_t PackPair(float low, float high) {
  return uint32_t{__bfloat16_as_ushort(__float2bfloat16(low))} |
         uint32_t{__bfloat16_as_ushort(__float2bfloat16(high))} << 16;
}

// Over the lanes of a whole warp; every lane gets the result, the same bits.
__device__ __forceinline__ float WarpSum(float v) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) v += __shfl_xor_sync(kFullMask, v, offset);
  return v;
}
__device__ __forceinline__ float WarpMax(float v) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    v = fmaxf(v, __shfl_xor_sync(kFullMask, v, offset));
  }
  return v;
}

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_GPU_CUH_
