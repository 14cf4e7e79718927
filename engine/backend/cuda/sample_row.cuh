// What sampling says of one row of logits, and the passes of a block over it.
//
// Sums of probabilities are integers: a logit's mass is exp((logit - best) / temperature) in f32,
// rounded down to a multiple of 2^-kMassBits. So they are exact and the same in every order, by
// whichever threads they are made, and no sort is needed to have a running sum in the order of
// engine/sampler.h: it is the sum over all that come before. What differs from the CPU's f64 sums
// are the error of each mass (see MassOf), and masses below 2^-kMassBits of the best one, which
// count as 0. The drawn token is another one only where the uniform number lies within the errors'
// sum of a boundary between two tokens, or a filter's boundary within it of a token.
#ifndef KVASIR_ENGINE_BACKEND_CUDA_SAMPLE_ROW_CUH_
#define KVASIR_ENGINE_BACKEND_CUDA_SAMPLE_ROW_CUH_

#include "engine/backend/cuda/gpu.cuh"

namespace kvasir::cuda {

using Mass = unsigned long long;      // in units of 2^-kMassBits of the best logit's
inline constexpr int kMassBits = 44;  // the sum of 2^18 of them has 62

// Of a block; fewer where the vocabulary is small.
inline constexpr int kSampleThreads = 512;
inline constexpr int kBuckets = 2048;

// A logit and its id as one number, the larger, the more probable: ties go to the lower id.
using Item = unsigned long long;

struct alignas(16) Listed {
  Item item;
  Mass mass;
};
struct Bucket {
  int index;   // -1: none
  Mass above;  // the sum of those before it
  Mass weight;
};
// Shared memory of a block.
struct SampleShared {
  Listed list[kSampleThreads];
  Mass histogram[kBuckets];
  Mass folded[kSampleThreads / kWarp];
  Bucket bucket;
  Item threshold;
  double log_sum;  // of the raw distribution
  double uniform;
  uint32_t min_key;
  unsigned listed;
  int chosen;
};

struct Logits {
  float* data;  // [V]
  int vocab;    // V
};

// The larger, the more probable. Zeros of both signs are the same, NaN is 0 and below all others.
inline constexpr uint32_t kNanKey = 0;
inline constexpr uint32_t kMinusInfKey = 0x007fffffu;
inline constexpr uint32_t kInfKey = 0xff800000u;
__device__ __forceinline__ uint32_t KeyOf(float logit) {
  if (logit != logit) return kNanKey;
  const uint32_t bits = __float_as_uint(logit + 0.0f);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float LogitOf(uint32_t key) {
  return __uint_as_float((key >> 31) != 0 ? key & 0x7fffffffu : ~key);
}
__device__ __forceinline__ bool IsFinite(uint32_t key) {
  return key > kMinusInfKey && key < kInfKey;
}
__device__ __forceinline__ Item ItemOf(uint32_t key, int id) {
#if defined(BUG_SAMPLE_TIES_TO_HIGHEST)
  return Item{key} << 32 | static_cast<uint32_t>(id);  // planted: the higher id comes first
#else
  return Item{key} << 32 | ~static_cast<uint32_t>(id);
#endif
}
__device__ __forceinline__ uint32_t KeyOfItem(Item item) {
  return static_cast<uint32_t>(item >> 32);
}
__device__ __forceinline__ int IdOf(Item item) {
#if defined(BUG_SAMPLE_TIES_TO_HIGHEST)
  return static_cast<int>(static_cast<uint32_t>(item));
#else
  return static_cast<int>(~static_cast<uint32_t>(item));
#endif
}

struct Scale {
  float best;    // the largest logit, finite
  float factor;  // log2(e) / temperature, finite
};
__device__ __forceinline__ Scale ScaleOf(uint32_t best, float temperature) {
  constexpr float kLog2E = 1.44269504f;
  return {LogitOf(best), fminf(kLog2E / temperature, 3.4e38f)};
}
// With x = (logit - best) / temperature within |x| 4 * 2^-24 + 4 * 2^-24 of exp(x), relative
// (roundings of the difference, log2(e), the quotient and the product; exp2f's own 2 ulp), and
// 2^-kMassBits less, absolute. 0 for NaN. REQUIRES: logit <= best.
__device__ __forceinline__ Mass MassOf(float logit, Scale scale) {
  const float y = (logit - scale.best) * scale.factor;
  if (!(y > -kMassBits)) return 0;
  return static_cast<Mass>(exp2f(y) * static_cast<float>(Mass{1} << kMassBits));
}

// Calls visit(logit, id) for each of a row, the ids of a thread ascending.
// kLoads: of 16 bytes, under way at a time.
template <int kLoads = 4, class Visit>
__device__ __forceinline__ void ForEachLogit(const Logits& row, Visit visit) {
  const int threads = blockDim.x;
#if defined(BUG_SAMPLE_TAIL)
  const int vectors = row.vocab / 4;  // planted: the last few logits are never seen
#else
  const int vectors = row.vocab % 4 == 0 ? row.vocab / 4 : 0;
#endif
  const float4* data = reinterpret_cast<const float4*>(row.data);
  for (int first = threadIdx.x; first < vectors; first += kLoads * threads) {
    float4 l[kLoads];
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      if (first + k * threads < vectors) l[k] = data[first + k * threads];
    }
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      const int id = 4 * (first + k * threads);
      if (id >= row.vocab) break;
      visit(l[k].x, id);
      visit(l[k].y, id + 1);
      visit(l[k].z, id + 2);
      visit(l[k].w, id + 3);
    }
  }
#if !defined(BUG_SAMPLE_TAIL)
  if (vectors > 0) return;
#pragma unroll 1
  for (int id = threadIdx.x; id < row.vocab; id += threads) visit(row.data[id], id);
#endif
}

// Over a block: every thread gets combine of all values.
template <class Combine>
__device__ Mass BlockFold(SampleShared& shared, Mass value, Combine combine) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value = combine(value, __shfl_xor_sync(kFullMask, value, offset));
  }
  if (threadIdx.x % kWarp == 0) shared.folded[threadIdx.x / kWarp] = value;
#if !defined(BUG_SAMPLE_FOLD_NO_BARRIER)  // planted: read before all warps have written
  __syncthreads();
#endif
  value = shared.folded[0];
  for (int warp = 1; warp < static_cast<int>(blockDim.x) / kWarp; ++warp) {
    value = combine(value, shared.folded[warp]);
  }
  __syncthreads();  // `folded` is free again
  return value;
}
__device__ inline Mass BlockSum(SampleShared& shared, Mass value) {
  return BlockFold(shared, value, [](Mass a, Mass b) { return a + b; });
}
__device__ inline Mass BlockMax(SampleShared& shared, Mass value) {
  return BlockFold(shared, value, [](Mass a, Mass b) { return a > b ? a : b; });
}
__device__ inline Mass BlockMin(SampleShared& shared, Mass value) {
  return BlockFold(shared, value, [](Mass a, Mass b) { return a < b ? a : b; });
}

// The most probable of the logits that this thread visits; of key kNanKey where none is above -inf.
__device__ inline Item OwnBest(const Logits& row) {
  float best = LogitOf(kMinusInfKey);
  int best_id = -1;
  ForEachLogit(row, [&](float logit, int id) {
    if (logit > best) {
      best = logit;
      best_id = id;
    }
  });
  return best_id < 0 ? ItemOf(kNanKey, 0) : ItemOf(KeyOf(best), best_id);
}

// The n-th largest of the threads' keys: n of all logits' at least are as large.
// REQUIRES: 1 <= n <= threads.
__device__ inline uint32_t NthLargest(uint32_t key, int n) {
  uint32_t bound = 0;
  for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
    if (__syncthreads_count(key >= (bound | bit)) >= n) bound |= bit;
  }
  return bound;
}

struct Gathered {
  unsigned listed;  // in the list, and those for which there was no room
  // Where they were weighed:
  Mass total;
  uint32_t least;  // key with a mass of at least 1
  bool nan;        // there is one
};

// Puts the items from `from` on into shared.list, in no order; sums up all masses where `weigh`.
__device__ inline Gathered Gather(SampleShared& shared, const Logits& row, Item from, bool weigh,
                                  Scale scale) {
  if (threadIdx.x == 0) shared.listed = 0;
  __syncthreads();
  const uint32_t from_key = KeyOfItem(from);
  Mass total = 0;
  uint32_t least = kInfKey;
  bool nan = false;
  ForEachLogit(row, [&](float logit, int id) {
    const uint32_t key = KeyOf(logit);
    if (key >= from_key && ItemOf(key, id) >= from) {
      const unsigned place = atomicAdd(&shared.listed, 1u);
#if defined(BUG_SAMPLE_LIST_OVERFLOWS)
      shared.list[place].item = ItemOf(key, id);  // planted: a long list runs over
#else
      if (place < blockDim.x) shared.list[place].item = ItemOf(key, id);
#endif
    }
    if (!weigh) return;
    const Mass mass = MassOf(logit, scale);
    total += mass;
    if (mass > 0 && key < least) least = key;
    nan |= key == kNanKey;
  });
  __syncthreads();
  const unsigned listed = shared.listed;
  __syncthreads();  // all have read it
  if (!weigh) return {listed, 0, 0, false};
#if defined(BUG_SAMPLE_FLOAT_SUM)
  float* const sum = reinterpret_cast<float*>(&shared.threshold);  // planted: order matters
  if (threadIdx.x == 0) *sum = 0;
  __syncthreads();
  atomicAdd(sum, static_cast<float>(total));
  __syncthreads();
  total = static_cast<Mass>(*sum);
#else
  total = BlockSum(shared, total);
#endif
  least = static_cast<uint32_t>(BlockMin(shared, least));
  return {listed, total, least, __syncthreads_or(nan) != 0};
}

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_SAMPLE_ROW_CUH_
