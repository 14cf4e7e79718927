#ifndef KVASIR_ENGINE_SCHEDULE_GENERATE_REPORT_H_
#define KVASIR_ENGINE_SCHEDULE_GENERATE_REPORT_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"

namespace kvasir {

enum class FinishReason;  // engine/cache/session.h

// What a call that has found its session has cost, however it ended.
struct GenerateReport {
  uint64_t prompt_tokens = 0;  // the session's, and the input
  uint32_t input_tokens = 0;
  uint32_t cached_tokens = 0;
  uint32_t computed_tokens = 0;
  uint32_t generated_tokens = 0;
  // In this order; at InfinitePast is what the call did not come to.
  absl::Time arrived;                         // the engine was asked
  absl::Time opened;                          // its session was there, perhaps out of a store
  absl::Time admitted;                        // its first step was planned
  absl::Time first_token;                     // known
  absl::Time generated;                       // no step concerned it any more
  absl::Time settled;                         // as `generated`, or later: in its store
  std::optional<FinishReason> finish_reason;  // not set: an error
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_SCHEDULE_GENERATE_REPORT_H_
