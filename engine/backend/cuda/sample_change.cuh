// Bias and penalties, at the cost of the history, not of the vocabulary.
//
// Each id that they name has a word of SampleArgs::counts, 0 before and after. At first it counts
// how often the history names the id (and says whether the bias does); once the logit is changed,
// it keeps the raw one, which log-probabilities are made of. The two are told apart by size: a
// count is the bits of a denormal float, and a logit that is a denormal is kept as zero.
#ifndef KVASIR_ENGINE_BACKEND_CUDA_SAMPLE_CHANGE_CUH_
#define KVASIR_ENGINE_BACKEND_CUDA_SAMPLE_CHANGE_CUH_

#include "engine/backend/cuda/kernels.h"
#include "engine/backend/cuda/sample_row.cuh"

namespace kvasir::cuda {

inline constexpr uint32_t kBiased = 1u << 22;       // beside a count, which is smaller
inline constexpr uint32_t kCountEnd = 1u << 23;     // the least normal float
inline constexpr uint32_t kKeptZero = 0x80000000u;  // also: claimed, about to be kept

struct Changes {
  const SampleRow& row;
  const Bias* bias;
  const int* history;
  uint32_t* counts;  // [V]
};

__device__ inline bool IsCount(uint32_t word) { return word < kCountEnd; }
__device__ inline uint32_t Kept(float raw) {
  const uint32_t bits = __float_as_uint(raw);
  return (bits & 0x7fffffffu) < kCountEnd ? kKeptZero : bits;
}

// Keskar et al. 2019 (repetition) and the OpenAI API (frequency, presence). Rounded step by step as
// on the CPU, nothing fused.
__device__ inline float Penalized(float logit, uint32_t count, const SampleRow& row) {
  if (count == 0) return logit;
  logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
  logit = __fadd_rn(logit, -__fmul_rn(row.frequency_penalty, static_cast<float>(count)));
  return __fadd_rn(logit, -row.presence_penalty);
}

// Entries of the bias may share an id, though they seldom do: `twice` says whether any does. The
// first of them adds them all, in their order.
__device__ inline bool IsFirst(const Changes& changes, int i, bool twice) {
  for (int k = changes.row.bias_begin; twice && k < i; ++k) {
    if (changes.bias[k].id == changes.bias[i].id) return false;
  }
  return true;
}
__device__ inline float Biased(float logit, const Changes& changes, int i, bool twice) {
  logit += changes.bias[i].value;
  for (int k = i + 1; twice && k < changes.row.bias_end; ++k) {
    if (changes.bias[k].id == changes.bias[i].id) logit += changes.bias[k].value;
  }
  return logit;
}

// The logits that go on are there for the whole block when this returns.
__device__ inline void ApplyChanges(const Changes& changes, float* logits) {
  const SampleRow& row = changes.row;
  const int threads = blockDim.x;
  bool named = false;
  for (int i = row.history_begin + threadIdx.x; i < row.history_end; i += threads) {
    atomicAdd(&changes.counts[changes.history[i]], 1u);
  }
  for (int i = row.bias_begin + threadIdx.x; i < row.bias_end; i += threads) {
    named |= (atomicOr(&changes.counts[changes.bias[i].id], kBiased) & kBiased) != 0;
  }
  const bool twice = __syncthreads_or(named) != 0;
  for (int i = row.bias_begin + threadIdx.x; i < row.bias_end; i += threads) {
    if (!IsFirst(changes, i, twice)) continue;
    const int id = changes.bias[i].id;
    const float raw = logits[id];
    logits[id] = Penalized(Biased(raw, changes, i, twice), changes.counts[id] & ~kBiased, row);
    changes.counts[id] = Kept(raw);
  }
  __syncthreads();
  for (int i = row.history_begin + threadIdx.x; i < row.history_end; i += threads) {
    const int id = changes.history[i];
    // The first to come changes the logit, once.
    const uint32_t count = atomicAdd(&changes.counts[id], 0u);
    if (!IsCount(count)) continue;
#if !defined(BUG_SAMPLE_PENALIZED_TWICE)  // planted: once for every time that it is named
    if (atomicCAS(&changes.counts[id], count, kKeptZero) != count) continue;
#endif
    const float raw = logits[id];
    logits[id] = Penalized(raw, count, row);
#if !defined(BUG_SAMPLE_PENALIZED_TWICE)
    atomicExch(&changes.counts[id], Kept(raw));
#endif
  }
#if !defined(BUG_SAMPLE_CHANGES_NO_BARRIER)  // planted: read by other threads while they change
  __syncthreads();
#endif
}

// What the logit was before ApplyChanges.
__device__ inline float RawLogit(const Changes& changes, const float* logits, int id) {
#if defined(BUG_SAMPLE_LOGPROB_OF_CHANGED)
  return logits[id];  // planted
#else
  const uint32_t word = changes.counts[id];
  return word == 0 ? logits[id] : __uint_as_float(word);
#endif
}

// Back to zeros.
__device__ inline void ForgetChanges(const Changes& changes) {
  const SampleRow& row = changes.row;
  const int threads = blockDim.x;
#if !defined(BUG_SAMPLE_COUNTS_LEFT)  // planted: the next step finds the counts of this one
  for (int i = row.history_begin + threadIdx.x; i < row.history_end; i += threads) {
    atomicExch(&changes.counts[changes.history[i]], 0u);
  }
#endif
  for (int i = row.bias_begin + threadIdx.x; i < row.bias_end; i += threads) {
    atomicExch(&changes.counts[changes.bias[i].id], 0u);
  }
}

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_SAMPLE_CHANGE_CUH_
