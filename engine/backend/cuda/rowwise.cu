// Kernels that take rows one by one: norms, rotary embedding, gathers. Sums run in an order that
// only the row's length decides.
#include "engine/backend/cuda/gpu.cuh"
#include "engine/backend/cuda/kernels.h"
#include "engine/backend/cuda/silu.cuh"
#include "engine/batch.h"

namespace kvasir::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float4 Add(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}
__device__ __forceinline__ float SquareSum(float4 v) {
  return v.x * v.x + v.y * v.y + (v.z * v.z + v.w * v.w);
}
__device__ __forceinline__ uint2 Pack4(float4 v) {
  return make_uint2(PackPair(v.x, v.y), PackPair(v.z, v.w));
}

// A thread's 8 columns of one row.
__global__ void __launch_bounds__(kThreads) EmbedKernel(float* __restrict__ x,           // [T, n]
                                                        const bf16* __restrict__ table,  // [V, n]
                                                        const int* __restrict__ tokens,  // [T]
                                                        const int* __restrict__ sampled, int n) {
  const int row = blockIdx.x;
  const int token = tokens[row];
  const int id = token >= 0 ? token : sampled[-1 - token];
  const uint4* from = reinterpret_cast<const uint4*>(table + size_t(id) * n);
  float4* to = reinterpret_cast<float4*>(x + size_t(row) * n);
  for (int i = threadIdx.x; i < n / 8; i += kThreads) {
    const uint4 v = from[i];
    to[2 * i] = make_float4(LowToFloat(v.x), HighToFloat(v.x), LowToFloat(v.y), HighToFloat(v.y));
    to[2 * i + 1] =
        make_float4(LowToFloat(v.z), HighToFloat(v.z), LowToFloat(v.w), HighToFloat(v.w));
  }
}

// The sum over the block; every thread gets it, the same bits.
__device__ __forceinline__ float BlockSum(float v) {
  KVASIR_SHARED(float, part, [kThreads / kWarp]);
  v = WarpSum(v);
  if (threadIdx.x % kWarp == 0) part[threadIdx.x / kWarp] = v;
#if !defined(BUG_ROW_NO_BARRIER)  // planted: parts are read before all are there
  __syncthreads();
#endif
  float sum = 0;
#pragma unroll
  for (int w = 0; w < kThreads / kWarp; ++w) sum += part[w];
  return sum;
}

// One block a row. The sum of squares is taken of what has been stored, so a row comes twice.
__global__ void __launch_bounds__(kThreads)
    AddRmsNormKernel(bf16* __restrict__ out,        // [T, n]
                     float* __restrict__ residual,  // [T, n]
                     const float* __restrict__ x,   // [T, n] or null
                     const float* __restrict__ w,   // [n]
                     int n, float eps) {
  const size_t row = size_t(blockIdx.x) * n;
  float4* r = reinterpret_cast<float4*>(residual + row);
  const float4* weight = reinterpret_cast<const float4*>(w);
  const int vectors = n / 4;
  float square_sum = 0;
  for (int i = threadIdx.x; i < vectors; i += kThreads) {
    float4 v = r[i];
    if (x != nullptr) {
      v = Add(v, reinterpret_cast<const float4*>(x + row)[i]);
      r[i] = v;
    }
    square_sum += SquareSum(v);
  }
#if defined(BUG_ROW_EARLY_EXIT)
  if (threadIdx.x >= vectors) return;  // planted: threads leave before the collective
#endif
  const float scale = 1.0f / sqrtf(BlockSum(square_sum) / float(n) + eps);
  uint2* to = reinterpret_cast<uint2*>(out + row);
  for (int i = threadIdx.x; i < vectors; i += kThreads) {
    const float4 v = r[i];
    const float4 g = weight[i];
    to[i] = Pack4(
        make_float4(v.x * scale * g.x, v.y * scale * g.y, v.z * scale * g.z, v.w * scale * g.w));
  }
}

// cos and sin of a + b from those of a = 256 i and b, as RopeTable does it.
__global__ void __launch_bounds__(kThreads)
    RopeAnglesKernel(float* __restrict__ cos,             // [T, half]
                     float* __restrict__ sin,             // [T, half]
                     const int* __restrict__ positions,   // [T]
                     const double2* __restrict__ coarse,  // [positions / 256, half] (cos, sin)
                     const double2* __restrict__ fine,    // [256, half]
                     int rows, int half) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= rows * half) return;
  const int position = positions[i / half];
  const double2 a = coarse[size_t(position / kRopeFine) * half + i % half];
  const double2 b = fine[size_t(position % kRopeFine) * half + i % half];
  cos[i] = float(a.x * b.x - a.y * b.y);
  sin[i] = float(a.y * b.x + a.x * b.y);
}

// Where token `slot`'s K (part 0) or V (1) of kv head `head` lies.
__device__ __forceinline__ bf16* SlotOf(const KvView& kv, int slot, int head, int part) {
  const int row = (head * 2 + part) * kBlockTokens + slot % kBlockTokens;  // of the block
  return kv.data + size_t{1} * (slot / kBlockTokens) * kv.block_stride + row * kv.head_dim;
}

// D / 8 lanes a head; each holds 4 columns of the lower half and their partners of the upper.
template <int D>
__global__ void __launch_bounds__(kThreads) NormRopeStoreKernel(const RopeArgs args) {
  constexpr int kLanes = D / 8;
  const int heads = args.heads + 2 * args.kv.kv_heads;  // of a row
  const int count = args.rows * heads;
  const int wanted = (blockIdx.x * kThreads + threadIdx.x) / kLanes;
  const int item = min(wanted, count - 1);  // the lanes of a warp stay together
  const int row = item / heads;
  const int head = item % heads;
  const int lane = threadIdx.x % kLanes;
  float* from = args.qkv + size_t(item) * D + lane * 4;
  float4 low = *reinterpret_cast<const float4*>(from);
  float4 high = *reinterpret_cast<const float4*>(from + D / 2);

  float square_sum = SquareSum(low) + SquareSum(high);
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
#if defined(BUG_ROW_HALF_MASK)
    square_sum += __shfl_xor_sync(0x0000ffffu, square_sum, offset);  // planted: half the lanes
#else
    square_sum += __shfl_xor_sync(kFullMask, square_sum, offset);
#endif
  }
  const bool is_query = head < args.heads;
  const bool is_value = head >= args.heads + args.kv.kv_heads;
  if (!is_value) {
    const float scale = 1.0f / sqrtf(square_sum / float(D) + args.eps);
    const float* norm = (is_query ? args.q_norm : args.k_norm) + lane * 4;
    const float4 low_norm = *reinterpret_cast<const float4*>(norm);
    const float4 high_norm = *reinterpret_cast<const float4*>(norm + D / 2);
    const size_t angle = size_t(row) * (D / 2) + lane * 4;
    const float4 c = *reinterpret_cast<const float4*>(args.cos + angle);
    const float4 s = *reinterpret_cast<const float4*>(args.sin + angle);
    const auto turn = [scale](float& a, float& b, float wa, float wb, float cos, float sin) {
      const float na = a * scale * wa;
      const float nb = b * scale * wb;
      a = na * cos - nb * sin;
      b = nb * cos + na * sin;
    };
    turn(low.x, high.x, low_norm.x, high_norm.x, c.x, s.x);
    turn(low.y, high.y, low_norm.y, high_norm.y, c.y, s.y);
    turn(low.z, high.z, low_norm.z, high_norm.z, c.z, s.z);
    turn(low.w, high.w, low_norm.w, high_norm.w, c.w, s.w);
  }
  if (wanted >= count) return;
  if (is_query) {
    *reinterpret_cast<float4*>(from) = low;
    *reinterpret_cast<float4*>(from + D / 2) = high;
    return;
  }
  const int slot = args.slots[row];
#if !defined(BUG_ROW_PADDED_STORE)  // planted: a row of padding writes before the pool
  if (slot < 0) return;
#endif
  const int kv_head = head - args.heads - (is_value ? args.kv.kv_heads : 0);
  bf16* to = SlotOf(args.kv, slot, kv_head, is_value) + lane * 4;
  *reinterpret_cast<uint2*>(to) = Pack4(low);
  *reinterpret_cast<uint2*>(to + D / 2) = Pack4(high);
}

// Eight values in a row.
__device__ __forceinline__ void LoadEight(float4 (&to)[2], const float* from) {
  to[0] = reinterpret_cast<const float4*>(from)[0];
  to[1] = reinterpret_cast<const float4*>(from)[1];
}
__device__ __forceinline__ void LoadEight(float4 (&to)[2], const bf16* from) {
  const uint4 v = *reinterpret_cast<const uint4*>(from);
  to[0] = make_float4(LowToFloat(v.x), HighToFloat(v.x), LowToFloat(v.y), HighToFloat(v.y));
  to[1] = make_float4(LowToFloat(v.z), HighToFloat(v.z), LowToFloat(v.w), HighToFloat(v.w));
}

// Eight columns of out a thread: 16 of gate_up.
template <class T>
__global__ void __launch_bounds__(kThreads) SiluMulKernel(bf16* __restrict__ out,         // [T, F]
                                                          const T* __restrict__ gate_up,  // [T, 2F]
                                                          int groups) {  // T * F / 8
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= groups) return;
  float4 gate[2], up[2];
  LoadEight(gate, gate_up + size_t(i) * 16);
  LoadEight(up, gate_up + size_t(i) * 16 + 8);
  const float4 g0 = gate[0], g1 = gate[1], u0 = up[0], u1 = up[1];
  reinterpret_cast<uint4*>(out)[i] =
      make_uint4(PackPair(SiluMulOf(g0.x, u0.x), SiluMulOf(g0.y, u0.y)),
                 PackPair(SiluMulOf(g0.z, u0.z), SiluMulOf(g0.w, u0.w)),
                 PackPair(SiluMulOf(g1.x, u1.x), SiluMulOf(g1.y, u1.y)),
                 PackPair(SiluMulOf(g1.z, u1.z), SiluMulOf(g1.w, u1.w)));
}

__global__ void __launch_bounds__(kThreads) GatherRowsKernel(bf16* __restrict__ out,      // [R, n]
                                                             const bf16* __restrict__ x,  // [T, n]
                                                             const int* __restrict__ rows,  // [R]
                                                             int n) {
  const uint4* from = reinterpret_cast<const uint4*>(x + size_t(rows[blockIdx.x]) * n);
  uint4* to = reinterpret_cast<uint4*>(out + size_t(blockIdx.x) * n);
  for (int i = threadIdx.x; i < n / 8; i += kThreads) to[i] = from[i];
}

}  // namespace

cudaError_t LoadRowwiseKernels() {
  return FirstError(LoadKernel(EmbedKernel), LoadKernel(AddRmsNormKernel),
                    LoadKernel(RopeAnglesKernel), LoadKernel(NormRopeStoreKernel<16>),
                    LoadKernel(NormRopeStoreKernel<32>), LoadKernel(NormRopeStoreKernel<64>),
                    LoadKernel(NormRopeStoreKernel<128>), LoadKernel(SiluMulKernel<float>),
                    LoadKernel(SiluMulKernel<bf16>), LoadKernel(GatherRowsKernel));
}

cudaError_t Embed(float* x, const bf16* table, const int* tokens, const int* sampled, int rows,
                  int n, cudaStream_t stream) {
  return Launch(EmbedKernel, rows, kThreads, 0, stream, x, table, tokens, sampled, n);
}

cudaError_t AddRmsNorm(bf16* out, float* residual, const float* x, const float* w, int rows, int n,
                       float eps, cudaStream_t stream) {
  return Launch(AddRmsNormKernel, rows, kThreads, 0, stream, out, residual, x, w, n, eps);
}

cudaError_t RopeAngles(float* cos, float* sin, const int* positions, const double2* coarse,
                       const double2* fine, int rows, int half, cudaStream_t stream) {
  return Launch(RopeAnglesKernel, CeilDiv(rows * half, kThreads), kThreads, 0, stream, cos, sin,
                positions, coarse, fine, rows, half);
}

cudaError_t NormRopeStore(const RopeArgs& args, cudaStream_t stream) {
  const int lanes = args.rows * (args.heads + 2 * args.kv.kv_heads) * (args.kv.head_dim / 8);
  const int blocks = CeilDiv(lanes, kThreads);
  switch (args.kv.head_dim) {
    case 16:
      return Launch(NormRopeStoreKernel<16>, blocks, kThreads, 0, stream, args);
    case 32:
      return Launch(NormRopeStoreKernel<32>, blocks, kThreads, 0, stream, args);
    case 64:
      return Launch(NormRopeStoreKernel<64>, blocks, kThreads, 0, stream, args);
    case 128:
      return Launch(NormRopeStoreKernel<128>, blocks, kThreads, 0, stream, args);
    default:
      return cudaErrorInvalidValue;
  }
}

cudaError_t SiluMul(bf16* out, const float* gate_up, int rows, int ffn, cudaStream_t stream) {
  const int groups = rows * (ffn / 8);
  return Launch(SiluMulKernel<float>, CeilDiv(groups, kThreads), kThreads, 0, stream, out, gate_up,
                groups);
}
cudaError_t SiluMul(bf16* out, const bf16* gate_up, int rows, int ffn, cudaStream_t stream) {
  const int groups = rows * (ffn / 8);
  return Launch(SiluMulKernel<bf16>, CeilDiv(groups, kThreads), kThreads, 0, stream, out, gate_up,
                groups);
}

cudaError_t GatherRows(bf16* out, const bf16* x, const int* rows, int count, int n,
                       cudaStream_t stream) {
  return Launch(GatherRowsKernel, count, kThreads, 0, stream, out, x, rows, n);
}

}  // namespace kvasir::cuda
