// One step: the plan's rows through the model, their results to the calls.
#include <algorithm>
#include <chrono>

#include "engine/check.h"
#include "engine/core.h"
#include "engine/error.h"

namespace kvasir {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

bool Engine::Core::CanRunAhead() const {
  if (in_flight_ != 1 || !model_->backend->CanRunAhead()) return false;
  // Penalties count the very token that is not known yet.
  return std::none_of(steps_[0].uses.begin(), steps_[0].uses.end(), [](const LogitUse& use) {
    return use.call != nullptr && use.call->params.has_penalties();
  });
}

bool Engine::Core::Advance() {
  const bool ahead = CanRunAhead();
  const bool launched = (in_flight_ == 0 || ahead) && Launch();
  if (in_flight_ == 0) return false;
  counters_.steps_ahead += launched && ahead ? 1 : 0;
  if (in_flight_ == 2 || !launched || !CanRunAhead()) Finish();
  return true;
}

void Engine::Core::PresumeTokens() {
  const std::vector<LogitUse>& uses = steps_[0].uses;
  for (size_t r = 0; r < uses.size(); ++r) {
    Call* call = uses[r].call;
    if (call == nullptr || uses[r].prompt || call->presumed) continue;
    call->session->tokens.push_back(-1 - static_cast<int>(r));
    call->presumed = true;
  }
}

bool Engine::Core::Launch() {
  if (in_flight_ == 1) PresumeTokens();
  Step& step = steps_[in_flight_];
  const bool has_work = scheduler_.Plan(step.plan);
  AnnounceAdmitted();
  model_->backend->CopyBlocks(step.plan.block_copies);
  if (!has_work) return false;

  step.begun = std::chrono::steady_clock::now();
  step.host_seconds = std::chrono::duration<double>(step.begun - host_since_).count();
  ++in_flight_;
  BuildBatch();
  step.tokens = batch_.num_tokens();
  const Tensor logits = model_->qwen3->Forward(batch_);  // [R, vocab]
  step.forward_seconds = SecondsSince(step.begun);
  model_->backend->Sample(logits, rows_);
  for (const StepEntry& entry : step.plan.entries) {
    Session& session = *entry.call->session;
    session.cached = entry.first + entry.count;
    entry.call->computed_tokens += entry.count;
    if (entry.first < session.computed) {
      counters_.recomputed_tokens += std::min(session.cached, session.computed) - entry.first;
    }
    session.computed = std::max(session.computed, session.cached);
  }
  counters_.computed_tokens += step.tokens;
  return true;
}

void Engine::Core::Finish() {
  KVASIR_CHECK(in_flight_ > 0);
  const std::span<const SampledToken> results = model_->backend->Collect();
  Step& step = steps_[0];
  // A step that was enqueued ahead took its time from when the one before was done.
  const double seconds = SecondsSince(std::max(step.begun, last_finish_));
  host_since_ = last_finish_ = std::chrono::steady_clock::now();
  const double forward = std::min(step.forward_seconds, seconds);
  const StepReport report = {step.tokens, static_cast<int>(step.plan.entries.size()), forward,
                             seconds - forward, step.host_seconds};
  ++counters_.steps;
  scheduler_.Record(step.plan, report.seconds());
  if (observer_) observer_(report);
  ApplyResults(results);
  std::swap(steps_[0], steps_[1]);
  --in_flight_;
}

void Engine::Core::AnnounceAdmitted() {
  for (Call* call : steps_[in_flight_].plan.admitted) {
    if (call->started || !call->running) continue;  // back after a pause, or paused at once
    call->started = true;
    call->admitted = absl::Now();
    call->cached_tokens = static_cast<uint32_t>(call->session->cached);
    counters_.input_tokens += call->request.input_ids.size();
    counters_.prompt_tokens += call->input_end();
    counters_.cached_tokens += call->cached_tokens;
    call->sink->OnStarted(StartedOf(*call));
    if (call->next_prompt_logprob == 0 && call->input_end() > 0) {
      // The very first token of a session has no past.
      const TokenLogprob first{call->session->tokens.front(), 0.0f, {}};
      call->sink->OnTokens({}, {}, {&first, 1});
      call->next_prompt_logprob = 1;
    }
  }
}

void Engine::Core::BuildBatch() {
  Step& step = steps_[in_flight_ - 1];
  batch_.Clear();
  step.uses.clear();
  rows_.clear();
  for (const StepEntry& entry : step.plan.entries) {
    batch_.max_blocks =
        std::max(batch_.max_blocks, static_cast<int>(entry.call->session->blocks.size()));
  }
  for (size_t i = 0; i < step.plan.entries.size(); ++i) AddRows(step, i);
}

void Engine::Core::AddRows(Step& step, size_t index) {
  const StepEntry& entry = step.plan.entries[index];
  Call& call = *entry.call;
  const Session& session = *call.session;
  const size_t end = entry.first + entry.count;
  KVASIR_CHECK(end <= session.tokens.size() && end <= session.blocks.size() * kBlockTokens);
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
    step.uses.push_back({index, &call, prompt});
    batch_.logit_rows.push_back(row);
  }
  batch_.query_start.push_back(batch_.num_tokens());
  batch_.context_length.push_back(static_cast<int>(end));
  batch_.block_table.insert(batch_.block_table.end(), session.blocks.begin(), session.blocks.end());
  batch_.block_table.resize(size_t(batch_.num_sequences()) * batch_.max_blocks, -1);
}

void Engine::Core::ApplyResults(std::span<const SampledToken> results) {
  const Step& step = steps_[0];
  size_t r = 0;  // results lie in the order of the entries, a call's input before its next token
  for (size_t i = 0; i < step.plan.entries.size(); ++i) {
    const StepEntry& entry = step.plan.entries[i];
    const size_t begin = r;
    while (r < step.uses.size() && step.uses[r].entry == i) ++r;
    if (entry.call == nullptr) continue;
    Call& call = *entry.call;
    prompt_logprobs_.clear();
    size_t use = begin;
    for (; use < r && step.uses[use].prompt; ++use) {
      prompt_logprobs_.push_back({results[use].id, results[use].logprob, {}});
    }
    if (!prompt_logprobs_.empty()) {
      call.next_prompt_logprob += prompt_logprobs_.size();
      call.sink->OnTokens({}, {}, prompt_logprobs_);
    }
    if (use < r) {
      AppendToken(call, results[use]);  // may end the call
      continue;
    }
    cache_.Publish(*call.session);
    if (entry.first + entry.count == call.session->tokens.size()) EndAtMax(call);
  }
}

void Engine::Core::AppendToken(Call& call, const SampledToken& result) {
  if (result.id < 0) {
    Fail(call, absl::InternalError("the model's logits are not finite: damaged weights?"));
    return;
  }
  Session& session = *call.session;
  if (call.presumed) session.tokens.pop_back();
  call.presumed = false;
  session.tokens.push_back(result.id);
  session.committed = session.tokens.size();
  cache_.Publish(session);
  if (call.generated++ == 0) call.first_token = absl::Now();
  ++counters_.generated_tokens;

  const int id = result.id;
  call.unsent_ids.push_back(id);
  if (call.request.top_logprobs) {
    TokenLogprob& logprob = call.unsent_logprobs.emplace_back(TokenLogprob{id, result.logprob, {}});
    for (const TokenAlternative& other : result.alternatives) {
      logprob.alternatives.push_back({other.id, other.logprob});
    }
  }
  const bool wait = durability_ == Durability::kToken && IsStored(call);
  if (!wait) Send(call, 1);

  const auto contains = [id](const std::vector<int>& ids) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  if (contains(call.request.stop_token_ids) ||
      (!call.request.ignore_eos && contains(model_->generation.eos_token_ids))) {
    Complete(call, FinishReason::kStopToken);
  } else if (!call.wants_token()) {
    EndAtMax(call);
  } else if (wait && !call.saving) {
    Save(call);
  }
}

}  // namespace kvasir
