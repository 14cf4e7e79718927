// A draw that may end anywhere in the row: for what the short list of sample.cu does not hold.
//
// A running sum in the order of probability is followed down to the logit where it passes a target,
// by histograms of ever smaller ranges of logits.
#ifndef KVASIR_ENGINE_BACKEND_CUDA_SAMPLE_SEARCH_CUH_
#define KVASIR_ENGINE_BACKEND_CUDA_SAMPLE_SEARCH_CUH_

#include "engine/backend/cuda/kernels.h"
#include "engine/backend/cuda/sample_row.cuh"

namespace kvasir::cuda {

// Few: registers are short here.
inline constexpr int kSearchLoads = 2;

// Those that have less than this above them pass top_p: at least one.
__device__ inline Mass TopPLimit(float top_p, Mass total) {
  return static_cast<Mass>(ceil(static_cast<double>(top_p) * static_cast<double>(total)));
}
// The first whose running sum exceeds this is drawn.
__device__ inline Mass DrawTarget(double uniform, Mass total) {
  const Mass target = static_cast<Mass>(uniform * static_cast<double>(total));
  return target < total ? target : total - 1;
}

// The bucket of the histogram in which the running sum passes `target`.
__device__ inline Bucket Locate(SampleShared& shared, Mass target) {
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int each = kBuckets / static_cast<int>(blockDim.x);
  const int first = static_cast<int>(threadIdx.x) * each;
  Mass mine = 0;
  for (int b = first; b < first + each; ++b) mine += shared.histogram[b];
  Mass upto = mine;  // the warp's lanes up to this one
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const Mass below = __shfl_up_sync(kFullMask, upto, offset);
    if (lane >= offset) upto += below;
  }
  if (lane == kWarp - 1) shared.folded[warp] = upto;
  if (threadIdx.x == 0) shared.bucket.index = -1;
  __syncthreads();
  Mass above = upto - mine;
  for (int w = 0; w < warp; ++w) above += shared.folded[w];
  if (above <= target && target < above + mine) {
    int b = first;
    while (target >= above + shared.histogram[b]) above += shared.histogram[b++];
    shared.bucket = {b, above, shared.histogram[b]};
  }
  __syncthreads();
  const Bucket found = shared.bucket;
  __syncthreads();  // all have read it
  return found;
}

// Splits the logits between two keys into kBuckets, evenly, the most probable first. The first
// split of a row is by value, so that a bulk of similar logits does not meet in few buckets.
struct ByValue {
  float best;
  float factor;
  __device__ int operator()(uint32_t key) const {
    const int bucket = static_cast<int>((best - LogitOf(key)) * factor);
    return bucket < kBuckets ? bucket : kBuckets - 1;
  }
};
struct ByKey {
  uint32_t highest;
  int shift;
  __device__ int operator()(uint32_t key) const {
    return static_cast<int>((highest - key) >> shift);
  }
};

struct KeyRange {
  uint32_t low, high;  // inclusive
};

// The smallest key of the range whose bucket is below `bucket`. Buckets fall as keys rise.
__device__ inline uint32_t Edge(KeyRange range, ByValue split, int bucket) {
  uint32_t low = range.low;
  uint32_t end = range.high + 1;
  while (low < end) {
    const uint32_t middle = low + (end - low) / 2;
    if (split(middle) < bucket) {
      end = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}
__device__ inline KeyRange RangeOf(KeyRange range, ByValue split, int bucket) {
  return {Edge(range, split, bucket + 1), Edge(range, split, bucket) - 1};
}
__device__ inline KeyRange RangeOf(KeyRange range, ByKey split, int bucket) {
  const uint32_t high = range.high - (static_cast<uint32_t>(bucket) << split.shift);
  const uint32_t width = (1u << split.shift) - 1;
  return {high - range.low > width ? high - width : range.low, high};
}

// The group of equal logits in which the running sum of weights passes a target.
struct Group {
  uint32_t key;
  Mass rest;    // of the target, within the group
  Mass weight;  // of the group
};

// What a running sum adds up of each logit.
struct Weight {
  Scale scale;
  bool count;  // 1 each, else the mass
  __device__ Mass operator()(float logit) const { return count ? 1 : MassOf(logit, scale); }
};

// One histogram. Narrows the range to the bucket in which the running sum passes group.rest, and
// takes off what lies above it. False where it does not.
template <class Split>
__device__ bool Narrow(SampleShared& shared, const Logits& row, Split split, Weight weight,
                       KeyRange& range, Group& group) {
  for (int b = threadIdx.x; b < kBuckets; b += blockDim.x) shared.histogram[b] = 0;
#if !defined(BUG_SAMPLE_HISTOGRAM_NO_BARRIER)  // planted: counted before it is zero
  __syncthreads();
#endif
  ForEachLogit<kSearchLoads>(row, [&](float logit, int) {
    const uint32_t key = KeyOf(logit);
    if (key < range.low || key > range.high) return;
    atomicAdd(&shared.histogram[split(key)], weight(logit));
  });
  __syncthreads();
  const Bucket found = Locate(shared, group.rest);
  if (found.index < 0) return false;
  group.rest -= found.above;
  group.weight = found.weight;
  range = RangeOf(range, split, found.index);
  return true;
}

// key is the range's lowest where the sum does not reach the target.
__device__ inline Group FindGroup(SampleShared& shared, const Logits& row, KeyRange range,
                                  Weight weight, Mass target) {
  Group group = {range.low, target, 0};
  const float best = LogitOf(range.high);
  const float span = best - LogitOf(range.low);
  const ByValue by_value = {best, span > 1e-30f ? (kBuckets - 1) / span : 0.0f};
  bool found = Narrow(shared, row, by_value, weight, range, group);
  while (found && range.low < range.high) {
    constexpr int kDigitBits = 11;  // log2(kBuckets)
    const int bits = 32 - __clz(static_cast<int>(range.high - range.low));
    const ByKey by_key = {range.high, bits > kDigitBits ? bits - kDigitBits : 0};
    found = Narrow(shared, row, by_key, weight, range, group);
  }
  if (found) group.key = range.low;
  return group;
}

// The id of the n-th logit (from 0) that has this key, by ascending ids.
__device__ inline int TiedId(SampleShared& shared, const Logits& row, uint32_t key, unsigned n) {
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  const int each = (row.vocab + warps - 1) / warps;
  const int begin = warp * each;
  const int end = min(begin + each, row.vocab);
  const auto matches = [&](int first) {  // a bit for each of kWarp ids
    const int id = first + lane;
    return __ballot_sync(kFullMask, id < end && KeyOf(row.data[id]) == key);
  };
  unsigned count = 0;
  for (int first = begin; first < end; first += kWarp) count += __popc(matches(first));
  if (lane == 0) shared.folded[warp] = count;
  __syncthreads();
  unsigned before = 0;
  for (int w = 0; w < warp; ++w) before += static_cast<unsigned>(shared.folded[w]);
  if (before <= n && n < before + count) {
    int first = begin;
    unsigned here = matches(first);
    while (n >= before + __popc(here)) {
      before += __popc(here);
      first += kWarp;
      here = matches(first);
    }
    const bool match = (here >> lane & 1) != 0;
    if (match && before + __popc(here & ((1u << lane) - 1)) == n) shared.chosen = first + lane;
  }
  __syncthreads();
  return shared.chosen;
}

// Of all masses of keys from `from` on.
__device__ inline Mass MassFrom(SampleShared& shared, const Logits& row, uint32_t from,
                                Scale scale) {
  Mass sum = 0;
  ForEachLogit<kSearchLoads>(row, [&](float logit, int) {
    if (KeyOf(logit) >= from) sum += MassOf(logit, scale);
  });
  return BlockSum(shared, sum);
}

// The drawn id, by shared.min_key and shared.uniform. `least`: the least key that has a mass;
// total: of all. A function of its own, so that the common path keeps its registers.
__attribute__((noinline)) __device__ inline int SearchRow(SampleShared& shared, Logits row,
                                                          const SampleRow& wish, Scale scale,
                                                          uint32_t least, Mass total) {
  const KeyRange all = {least, KeyOf(scale.best)};
  if (wish.top_k > 0) {
    const Mass kth = static_cast<Mass>(wish.top_k) - 1;
    // Where fewer have a mass, all of them stay.
    const Group last = FindGroup(shared, row, all, {scale, true}, kth);
    total = MassFrom(shared, row, last.key, scale);
  }
  if (wish.top_p < 1) {
    const Mass target = TopPLimit(wish.top_p, total) - 1;
    const Group last = FindGroup(shared, row, all, {scale, false}, target);
    total = target - last.rest + last.weight;
  }
  if (shared.min_key > least) {
    const Mass above_min = MassFrom(shared, row, shared.min_key, scale);
    total = above_min < total ? above_min : total;  // the others may have dropped more
  }
  const Mass target = DrawTarget(shared.uniform, total);
  const Group group = FindGroup(shared, row, all, {scale, false}, target);
  const Mass each = MassOf(LogitOf(group.key), scale);
  return TiedId(shared, row, group.key, static_cast<unsigned>(group.rest / each));
}

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_SAMPLE_SEARCH_CUH_
