#ifndef KVASIR_ENGINE_SAMPLING_H_
#define KVASIR_ENGINE_SAMPLING_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace kvasir {

// The field names and ranges are those of kvasir.v1.SamplingParameters.
struct SamplingParams {
  float temperature = 1.0f;         // 0: greedy, ties to the lowest id
  uint32_t top_k = 0;               // 0: off
  float top_p = 1.0f;               // 1: off
  float min_p = 0.0f;               // 0: off
  float repetition_penalty = 1.0f;  // 1: off
  float frequency_penalty = 0.0f;   // 0: off
  float presence_penalty = 0.0f;    // 0: off
  uint64_t seed = 0;
  std::vector<std::pair<int, float>> logit_bias;  // (id, added to its logit)

  bool has_penalties() const {
    return repetition_penalty != 1.0f || frequency_penalty != 0.0f || presence_penalty != 0.0f;
  }
};

// One level of settings (a call's, a session's, the model's): what is not set falls through.
struct SamplingOverrides {
  std::optional<float> temperature;
  std::optional<uint32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<float> frequency_penalty;
  std::optional<float> presence_penalty;
  std::optional<uint64_t> seed;
  // Replaced as a whole by a higher level that sets any entry.
  std::vector<std::pair<int, float>> logit_bias;
};

// INVALID_ARGUMENT naming field (prefixed, e.g. "sampling."), value and limit.
absl::Status ValidateSampling(const SamplingOverrides& overrides, int vocab_size);

// `high` where it is set, else `low`.
SamplingOverrides Merge(const SamplingOverrides& high, const SamplingOverrides& low);

// What is set nowhere takes the defaults of SamplingParams. REQUIRES: valid.
SamplingParams Resolve(const SamplingOverrides& overrides);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_SAMPLING_H_
