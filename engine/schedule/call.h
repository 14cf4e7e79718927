#ifndef KVASIR_ENGINE_SCHEDULE_CALL_H_
#define KVASIR_ENGINE_SCHEDULE_CALL_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "engine/cache/session.h"
#include "engine/sampling.h"
#include "engine/schedule/request.h"

namespace kvasir {

// One Generate call on its way through the scheduler.
struct Call {
  uint64_t id = 0;
  GenerateRequest request;
  std::shared_ptr<GenerateSink> sink;

  Session* session = nullptr;         // holds the input behind its committed tokens
  std::unique_ptr<Session> one_shot;  // where the session has no name
  bool created_session = false;       // by create_if_missing
  SamplingParams params;
  size_t base_length = 0;  // of the session before this call's input
  uint32_t max_new_tokens = 0;
  FinishReason finish_at_max = FinishReason::kMaxNewTokens;  // when max_new_tokens are there
  absl::Status quota_at_max;  // not OK: then more would be over a quota

  bool running = false;    // admitted: its session is pinned
  bool started = false;    // OnStarted has been sent
  uint32_t generated = 0;  // tokens appended to the session
  // The session's last token stands for one that a running step draws: not known yet.
  bool presumed = false;
  size_t next_prompt_logprob = 0;  // position of the next input token whose logprob is owed
  uint32_t cached_tokens = 0;
  uint32_t computed_tokens = 0;
  // As GenerateReport has them.
  absl::Time arrived;
  absl::Time opened = absl::InfinitePast(), admitted = absl::InfinitePast();
  absl::Time first_token = absl::InfinitePast(), ended = absl::InfinitePast();
  absl::Time stalled_since = absl::InfiniteFuture();  // as far as the engine has noticed

  // Where sessions are stored. The end: what is left to save, then the answer.
  bool saving = false;    // something is on its way to the store
  bool settling = false;  // ended; no step concerns it any more
  absl::Status error;     // how, where not OK
  GenerateComplete complete;
  // Tokens that are sent once they are durable.
  std::vector<int> unsent_ids;
  std::vector<TokenLogprob> unsent_logprobs;

  size_t input_end() const { return base_length + request.input_ids.size(); }
  // Tokens whose K and V are still to be computed.
  size_t pending() const { return session->tokens.size() - session->cached; }
  // How much of the session may come from blocks that others have computed: the logits of its last
  // token are needed, and those that an owed log-probability of the input comes from.
  size_t adoptable() const {
    const size_t first_row =
        next_prompt_logprob < input_end() ? next_prompt_logprob : session->tokens.size();
    return std::max<size_t>(first_row, 1) - 1;
  }
  // Its reader is slow: it can neither run nor be let in.
  bool stalled() const { return !sink->HasRoom(); }
  bool wants_token() const { return generated + (presumed ? 1 : 0) < max_new_tokens; }
  // A step has something to compute for it. What the last token of all stands for needs no K and V.
  bool ready() const { return pending() > 0 && (wants_token() || !presumed) && !stalled(); }
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_SCHEDULE_CALL_H_
