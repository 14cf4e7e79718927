// One step: the plan's rows through the model, their results to the calls.
#include <algorithm>
#include <chrono>

#include "engine/check.h"
#include "engine/core.h"
#include "engine/error.h"

namespace kvasir {

void Engine::Core::AnnounceAdmitted() {
  for (Call* call : plan_.admitted) {
    if (call->started || !call->running) continue;  // back after a pause, or paused at once
    call->started = true;
    call->admitted = absl::Now();
    call->cached_tokens = static_cast<uint32_t>(call->session->cached);
    counters_.input_tokens += call->request.input_ids.size();
    counters_.cached_tokens += call->cached_tokens;
    call->sink->OnStarted(
        {call->session->id, call->base_length, call->cached_tokens, call->params.seed});
    if (call->next_prompt_logprob == 0 && call->input_end() > 0) {
      // The very first token of a session has no past.
      const TokenLogprob first{call->session->tokens.front(), 0.0f, {}};
      call->sink->OnTokens({}, {}, {&first, 1});
      call->next_prompt_logprob = 1;
    }
  }
}

void Engine::Core::RunStep() {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  model_->backend->CopyBlocks(plan_.block_copies);
  BuildBatch();
  const Tensor logits = qwen3_.Forward(batch_);  // [R, vocab]
  const Clock::time_point computed = Clock::now();
  model_->backend->Sample(logits, rows_);
  const std::span<const SampledToken> results = model_->backend->Collect();
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  const StepReport report = {batch_.num_tokens(), seconds(computed - begin),
                             seconds(Clock::now() - computed)};
  for (const StepEntry& entry : plan_.entries) {
    entry.call->session->cached = entry.first + entry.count;
    cache_.Publish(*entry.call->session);
    entry.call->computed_tokens += entry.count;
  }
  ++counters_.steps;
  counters_.computed_tokens += batch_.num_tokens();
  scheduler_.Record(plan_, report.seconds());
  if (observer_) observer_(report);
  ApplyResults(results);
}

void Engine::Core::BuildBatch() {
  batch_.Clear();
  uses_.clear();
  rows_.clear();
  for (const StepEntry& entry : plan_.entries) {
    batch_.max_blocks =
        std::max(batch_.max_blocks, static_cast<int>(entry.call->session->blocks.size()));
  }
  for (const StepEntry& entry : plan_.entries) AddRows(entry);
}

void Engine::Core::AddRows(const StepEntry& entry) {
  Call& call = *entry.call;
  const Session& session = *call.session;
  const size_t end = entry.first + entry.count;
  for (size_t position = entry.first; position < end; ++position) {
    const int row = batch_.num_tokens();
    batch_.tokens.push_back(session.tokens[position]);
    batch_.positions.push_back(static_cast<int>(position));
    batch_.slots.push_back(session.blocks[position / kBlockTokens] * kBlockTokens +
                           static_cast<int>(position % kBlockTokens));
    const size_t next = position + 1;
    const bool prompt = next >= call.next_prompt_logprob && next < call.input_end();
    const bool last = next == session.tokens.size() && call.wants_token();
    if (!prompt && !last) continue;
    rows_.push_back({.logits_row = batch_.num_logits(),
                     .params = &call.params,
                     .history = session.tokens,
                     .position = next,
                     .top_logprobs = last && call.request.top_logprobs
                                         ? static_cast<int>(*call.request.top_logprobs)
                                         : -1,
                     .target = prompt ? session.tokens[next] : -1});
    uses_.push_back({&call, prompt});
    batch_.logit_rows.push_back(row);
  }
  batch_.query_start.push_back(batch_.num_tokens());
  batch_.context_length.push_back(static_cast<int>(end));
  batch_.block_table.insert(batch_.block_table.end(), session.blocks.begin(), session.blocks.end());
  batch_.block_table.resize(size_t(batch_.num_sequences()) * batch_.max_blocks, -1);
}

void Engine::Core::ApplyResults(std::span<const SampledToken> results) {
  size_t r = 0;  // results lie in the order of the entries, a call's input before its next token
  for (const StepEntry& entry : plan_.entries) {
    Call& call = *entry.call;
    prompt_logprobs_.clear();
    for (; r < uses_.size() && uses_[r].call == &call && uses_[r].prompt; ++r) {
      prompt_logprobs_.push_back({results[r].id, results[r].logprob, {}});
    }
    if (!prompt_logprobs_.empty()) {
      call.next_prompt_logprob += prompt_logprobs_.size();
      call.sink->OnTokens({}, {}, prompt_logprobs_);
    }
    if (r < uses_.size() && uses_[r].call == &call) {
      AppendToken(call, results[r++]);  // may end the call
    } else if (call.pending() == 0) {
      Complete(call, call.finish_at_max);
    }
  }
}

void Engine::Core::AppendToken(Call& call, const SampledToken& result) {
  if (result.id < 0) {
    Fail(call, absl::InternalError("the model's logits are not finite: damaged weights?"));
    return;
  }
  Session& session = *call.session;
  session.tokens.push_back(result.id);
  session.committed = session.tokens.size();
  if (call.generated++ == 0) call.first_token = absl::Now();
  ++counters_.generated_tokens;

  const int id = result.id;
  if (call.request.top_logprobs) {
    TokenLogprob logprob{result.id, result.logprob, {}};
    for (const TokenAlternative& other : result.alternatives) {
      logprob.alternatives.push_back({other.id, other.logprob});
    }
    call.sink->OnTokens({&id, 1}, {&logprob, 1}, {});
  } else {
    call.sink->OnTokens({&id, 1}, {}, {});
  }

  const auto contains = [id](const std::vector<int>& ids) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  if (contains(call.request.stop_token_ids) ||
      (!call.request.ignore_eos && contains(model_->generation.eos_token_ids))) {
    Complete(call, FinishReason::kStopToken);
  } else if (!call.wants_token()) {
    Complete(call, call.finish_at_max);
  }
}

}  // namespace kvasir
