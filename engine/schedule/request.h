#ifndef KVASIR_ENGINE_SCHEDULE_REQUEST_H_
#define KVASIR_ENGINE_SCHEDULE_REQUEST_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/cache/session.h"
#include "engine/sampling.h"
#include "engine/schedule/generate_report.h"

namespace kvasir {

// The fields mean what kvasir.v1.GenerateRequest says.
struct GenerateRequest {
  std::string session_id;  // empty: one-shot
  std::string tenant;      // who asks: for fairness, and what is shared with whom
  std::vector<int> input_ids;
  std::optional<uint32_t> max_new_tokens;
  SamplingOverrides sampling;
  std::vector<int> stop_token_ids;
  bool ignore_eos = false;
  bool create_if_missing = false;
  std::optional<uint64_t> expected_length;
  std::optional<uint32_t> top_logprobs;
  bool prompt_logprobs = false;
  std::string request_id;
};

struct TokenLogprob {
  struct Alternative {
    int id = 0;
    float logprob = 0;
  };
  int id = 0;
  float logprob = 0;
  std::vector<Alternative> alternatives;  // most probable first
};

struct GenerateStarted {
  std::string session_id;
  uint64_t session_length = 0;  // before this call's input
  uint32_t cached_tokens = 0;
  uint64_t seed = 0;
  // Since it was created and since it was last used; not set where this call creates it, or where
  // it has no name.
  std::optional<absl::Duration> session_age, session_idle;
};

struct GenerateComplete {
  FinishReason finish_reason = FinishReason::kUnspecified;
  uint64_t session_length = 0;
  uint32_t input_tokens = 0;
  uint32_t cached_tokens = 0;
  uint32_t computed_tokens = 0;
  uint32_t generated_tokens = 0;
  absl::Duration queued, prefill, decode;
};

// Where a call's results go. Called on the engine's thread only; must return at once. Exactly one
// of OnComplete and OnError is the last call, and always comes. When it comes, the session is
// settled: it is what it was before, or input + S (invariant I2).
class GenerateSink {
 public:
  virtual ~GenerateSink() = default;
  // False: the reader is slow; the call pauses, keeping its place, until Engine::Resume.
  virtual bool HasRoom() const = 0;
  virtual void OnStarted(const GenerateStarted& started) = 0;
  // Log-probabilities are one for each id, or none. A chunk may hold prompt_logprobs alone.
  virtual void OnTokens(std::span<const int> ids, std::span<const TokenLogprob> logprobs,
                        std::span<const TokenLogprob> prompt_logprobs) = 0;
  // Comes directly before the last call, where the call had found its session.
  virtual void OnReport(const GenerateReport& /*report*/) {}
  virtual void OnComplete(const GenerateComplete& complete) = 0;
  virtual void OnError(const absl::Status& status) = 0;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_SCHEDULE_REQUEST_H_
