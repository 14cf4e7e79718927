// Rows to sample from, drawn by the kernel and by engine/sampler.h.
#ifndef KVASIR_TESTS_ENGINE_BACKEND_CUDA_SAMPLE_TESTING_H_
#define KVASIR_TESTS_ENGINE_BACKEND_CUDA_SAMPLE_TESTING_H_

#include <cstdint>
#include <random>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/cuda/kernels.h"

namespace kvasir::cuda {

struct SampleCase {
  std::vector<float> logits;
  SamplingParams params;
  std::vector<int> history;
  uint64_t position = 0;
  int top_logprobs = -1;
  int target = -1;
};

// A case over logits of every kind: normal of any width, ties, all equal, sorted, peaks, zeros of
// both signs, and some that are -inf, +inf or NaN.
SampleCase RandomCase(int vocab, std::mt19937& random);

// The kernel's results of a batch, which must leave its scratch zero. The rows of logits lie in
// another order than the cases, and one row is to be passed by.
std::vector<SampleResult> SampleOnDevice(const std::vector<SampleCase>& cases);

// The CPU's result, and what of it the kernel may do differently.
struct SampleReference {
  SampledToken token;
  double logprob_error = 0;  // of a log-probability, its last rounding aside
  bool has_nan = false;      // the raw logits do: ids of alternatives mean nothing
  // The uniform number, or a filter, is so near to a boundary that rounding of the masses, by the
  // bound that MassOf states, may decide.
  bool near_boundary = false;
};
SampleReference SampleOnHost(const SampleCase& c);

// Fails where the result is not the reference's; true where another id was drawn near a boundary.
bool ExpectSampled(const SampleResult& result, const SampleReference& reference);

}  // namespace kvasir::cuda

#endif  // KVASIR_TESTS_ENGINE_BACKEND_CUDA_SAMPLE_TESTING_H_
