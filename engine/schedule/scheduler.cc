#include "engine/schedule/scheduler.h"

#include <algorithm>

#include "engine/check.h"

namespace kvasir {

void Scheduler::Add(Call& call) { waiting_.push_back(&call); }

void Scheduler::Remove(Call& call) {
  std::erase(waiting_, &call);
  std::erase(running_, &call);
  if (call.running && !call.one_shot) table_.Unpin(*call.session);
  call.running = false;
}

bool Scheduler::Plan(StepPlan& plan) {
  plan.entries.clear();
  plan.block_copies.clear();
  plan.admitted.clear();
  Admit(plan);
  int budget = limits_.max_step_tokens;
  int logit_rows = limits_.max_logits();
  order_ = running_;  // preemption changes running_ on the way
  int slots = limits_.max_running;
  for (const bool decodes : {true, false}) {
    for (Call* call : order_) {
      if (budget == 0 || slots == 0) break;
      if (!call->running || (call->pending() == 1) != decodes || IsStalled(*call)) continue;
      const int rows = PlanCall(*call, budget, logit_rows, plan);
      budget -= rows;
      slots -= rows > 0;
    }
  }
  return !plan.entries.empty();
}

void Scheduler::Admit(StepPlan& plan) {
  int active = static_cast<int>(std::count_if(running_.begin(), running_.end(),
                                              [](const Call* c) { return !IsStalled(*c); }));
  while (!waiting_.empty() && active < limits_.max_running) {
    Call& call = *waiting_.front();
    if (!call.one_shot) table_.Pin(*call.session);
    // Eviction starts here and not at the first chunk: a call that is let in should not be the
    // next to be thrown out.
    const int need = cache_.BlocksToReserve(*call.session, call.session->tokens.size());
    if (need > cache_.allocator().free() && !table_.Evict(need) && active > 0) {
      if (!call.one_shot) table_.Unpin(*call.session);
      return;
    }
    waiting_.pop_front();
    const auto place = std::find_if(running_.begin(), running_.end(),
                                    [&](const Call* other) { return other->id > call.id; });
    running_.insert(place, &call);
    call.running = true;
    plan.admitted.push_back(&call);
    ++active;
  }
}

int Scheduler::PlanCall(Call& call, int budget, int& logit_rows, StepPlan& plan) {
  Session& session = *call.session;
  int count = static_cast<int>(std::min<size_t>(call.pending(), budget));
  const bool owes_logprobs = call.next_prompt_logprob < call.input_end();
  if (owes_logprobs) count = std::min(count, logit_rows);
  if (count == 0) return 0;
  const size_t end = session.cached + count;
  if (!MakeRoom(cache_.BlocksToReserve(session, end), call, plan)) return 0;
  cache_.Reserve(session, end, plan.block_copies);
  plan.entries.push_back({&call, session.cached, count});
  logit_rows -= owes_logprobs ? count : 1;
  return count;
}

bool Scheduler::MakeRoom(int blocks, Call& call, StepPlan& plan) {
  while (blocks > cache_.allocator().free() && !table_.Evict(blocks)) {
    Call* victim = Victim(call);
    Preempt(victim != nullptr ? *victim : call, plan);
    if (victim == nullptr) return false;
  }
  return true;
}

// Who gives up blocks for `call`: a stalled call, whatever its age, else one younger than `call`;
// the youngest first.
Call* Scheduler::Victim(const Call& call) const {
  for (const bool stalled : {true, false}) {
    for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
      Call* other = *it;
      if (other == &call || other->session->blocks.empty()) continue;
      if (stalled ? IsStalled(*other) : other->id > call.id) return other;
    }
  }
  return nullptr;
}

void Scheduler::Preempt(Call& call, StepPlan& plan) {
  std::erase_if(plan.entries, [&](const StepEntry& entry) { return entry.call == &call; });
  cache_.Truncate(*call.session, 0);
  std::erase(running_, &call);
  if (!call.one_shot) table_.Unpin(*call.session);
  call.running = false;
  const auto place = std::find_if(waiting_.begin(), waiting_.end(),
                                  [&](const Call* other) { return other->id > call.id; });
  waiting_.insert(place, &call);
  ++preemptions_;
}

}  // namespace kvasir
