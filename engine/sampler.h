#ifndef KVASIR_ENGINE_SAMPLER_H_
#define KVASIR_ENGINE_SAMPLER_H_

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/backend/backend.h"

namespace kvasir {

// Buffers that SampleRow keeps between calls; one per thread.
struct SamplerScratch {
  std::vector<std::pair<float, int>> candidates;  // (logit, id)
  std::vector<std::pair<float, int>> sorted;
  std::vector<double> mass;
  std::vector<float> raw;   // [V]
  std::vector<int> counts;  // [V] all zero between calls
};

// A uniform number in [0, 1) that is a function of (seed, position) alone: Philox4x32-10
// (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), key = seed,
// counter = position.
double UniformAt(uint64_t seed, uint64_t position);

// The whole chain on one row: logprobs of the raw distribution where asked for, then logit_bias ->
// repetition, frequency, presence penalties -> greedy (ties: lowest id) or temperature -> top_k
// (ties with the k-th kept) -> top_p (i stays iff the mass strictly above it is < p) -> min_p ->
// a draw at (seed, position). Where no logit is finite out.id is -1. After each filter
// probabilities are renormalised; sums and the draw run in (logit descending, id ascending) order.
// `logits` [V] are overwritten. Reuses `out`'s capacity.
void SampleRow(std::span<float> logits, const SamplingRow& row, SamplerScratch& scratch,
               SampledToken& out);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_SAMPLER_H_
