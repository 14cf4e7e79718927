#include "engine/schedule/scheduler.h"

#include <algorithm>

#include "engine/check.h"

namespace kvasir {

int StepPlan::rows() const {
  int rows = 0;
  for (const StepEntry& entry : entries) rows += entry.count;
  return rows;
}

void Scheduler::Add(Call& call) { waiting_.Add(call); }

void Scheduler::Remove(Call& call) {
  waiting_.Remove(call);
  if (!call.running) return;
  std::erase(running_, &call);
  if (!call.one_shot) table_.Unpin(*call.session);
  call.running = false;
  waiting_.Ended(call);
}

bool Scheduler::Plan(StepPlan& plan) {
  plan.entries.clear();
  plan.decodes = 0;
  plan.block_copies.clear();
  plan.admitted.clear();
  Admit(plan);
  int budget = limits_.max_step_tokens;
  int slots = limits_.max_running;
  order_ = running_;  // preemption changes running_ on the way
  // Each call has a row of logits of its own.
  int spare_logits =
      limits_.max_logits() - std::min(limits_.max_running, static_cast<int>(running_.size()));
  for (Call* call : order_) {
    if (budget == 0 || slots == 0) break;
    if (!call->running || call->pending() != 1 || !call->ready()) continue;
    const int rows = PlanCall(*call, budget, spare_logits, plan);
    budget -= rows;
    slots -= rows;
  }
  plan.decodes = static_cast<int>(plan.entries.size());
  if (plan.decodes > 0) budget = std::min(budget, pace_.PromptRows());
  while (budget > 0 && slots > 0) {
    Call* call = TakePrompt();
    if (call == nullptr) break;
    const int rows = PlanCall(*call, budget, spare_logits, plan);
    budget -= rows;
    slots -= rows > 0;
  }
  return !plan.entries.empty();
}

// Of the calls in order_ that have a prompt to read, the oldest of the tenant served least; out of
// order_.
Call* Scheduler::TakePrompt() {
  Call* next = nullptr;
  for (Call* call : order_) {
    if (!call->running || call->pending() <= 1 || !call->ready()) continue;
    if (next == nullptr || waiting_.served(*call) < waiting_.served(*next)) next = call;
  }
  std::erase(order_, next);
  return next;
}

void Scheduler::Record(const StepPlan& plan, double seconds) {
  pace_.Record(plan.decodes, plan.rows() - plan.decodes, seconds);
}

void Scheduler::Admit(StepPlan& plan) {
  int active = static_cast<int>(
      std::count_if(running_.begin(), running_.end(), [](const Call* c) { return !c->stalled(); }));
  waiting_.PassOverNobody();
  while (active < limits_.max_running) {
    Call* call = waiting_.Next();
    if (call == nullptr) return;
    const Room room = MakeRoomToAdmit(*call, active == 0, plan);
    if (room == Room::kNot) return;
    if (room == Room::kNotOfTenant) {
      waiting_.PassOver(*call);
      continue;
    }
    waiting_.Began(*call);
    waiting_.Remove(*call);
    const auto place = std::find_if(running_.begin(), running_.end(),
                                    [&](const Call* other) { return other->id > call->id; });
    running_.insert(place, call);
    call->running = true;
    plan.admitted.push_back(call);
    ++active;
  }
}

// Eviction starts here and not at the first chunk: a call that is let in should not be the next to
// be thrown out. A call that would be alone goes ahead: others will make room on the way.
Scheduler::Room Scheduler::MakeRoomToAdmit(Call& call, bool alone, StepPlan& plan) {
  Session& session = *call.session;
  if (!call.one_shot) table_.Pin(session);
  const size_t own = session.cached;
  cache_.Adopt(session, call.adoptable());
  const int need = cache_.BlocksToReserve(session, session.tokens.size());
  const bool within_share = IsWithinShare(call, need + BlocksPromised(session.tenant));
  Room room = within_share || IsAloneOfTenant(call) ? Room::kIs : Room::kNotOfTenant;
  if (room == Room::kIs && need > cache_.allocator().free() && !table_.Evict(need) && !alone) {
    room = Room::kNot;
  }
  // Who waits holds nothing that could not be taken away; nor does who is let in all the same.
  if (room != Room::kIs || !within_share) cache_.Truncate(session, own);
  if (room != Room::kIs) {
    if (!call.one_shot) table_.Unpin(session);
    return room;
  }
  // Not before it is let in: what is brought back for nothing would drive out something else.
  if (within_share) cache_.Restore(session, call.adoptable(), plan.block_copies);
  prefix_queries_ += std::max(call.adoptable(), own) - own;
  prefix_hits_ += session.cached - own;
  return room;
}

bool Scheduler::IsWithinShare(const Call& call, int more) {
  const int most = limits_.max_tenant_blocks;
  if (most == 0) return true;
  return more <= most && table_.EvictDownTo(most - more, call.session->tenant);
}

int Scheduler::BlocksPromised(const std::string& tenant) const {
  int blocks = 0;
  if (limits_.max_tenant_blocks == 0) return blocks;
  for (const Call* call : running_) {
    const Session& session = *call->session;
    if (session.tenant != tenant) continue;
    blocks += cache_.BlocksToReserve(session, session.tokens.size());
  }
  return blocks;
}

bool Scheduler::IsAloneOfTenant(const Call& call) const {
  return std::none_of(running_.begin(), running_.end(), [&](const Call* other) {
    return !other->stalled() && other->session->tenant == call.session->tenant;
  });
}

KvCache::Usage Scheduler::CountBlocks() {
  in_use_.clear();
  for (const Call* call : running_) in_use_.push_back(call->session);
  return cache_.CountBlocks(in_use_);
}

int Scheduler::PlanCall(Call& call, int budget, int& spare_logits, StepPlan& plan) {
  Session& session = *call.session;
  // Someone else may have computed what comes next.
  cache_.Restore(session, call.adoptable(), plan.block_copies);
  // Rows before the first one with logits: of what the session held, where the call owes
  // log-probabilities of its input.
  const size_t silent = std::max(call.adoptable(), session.cached) - session.cached;
  const int count =
      static_cast<int>(std::min({call.pending(), size_t(budget), silent + 1 + spare_logits}));
  const size_t end = session.cached + count;
  if (!MakeRoom(cache_.BlocksToReserve(session, end), call, plan)) return 0;
  cache_.Reserve(session, end, plan.block_copies);
  plan.entries.push_back({&call, session.cached, count});
  spare_logits -= std::max(count - 1 - static_cast<int>(silent), 0);
  waiting_.Charge(call, count);
  return count;
}

bool Scheduler::MakeRoom(int blocks, Call& call, StepPlan& plan) {
  while (true) {
    const bool within_share = IsWithinShare(call, blocks);
    if (within_share && (blocks <= cache_.allocator().free() || table_.Evict(blocks))) return true;
    Call* victim = Victim(call, /*of_tenant=*/!within_share);
    Preempt(victim != nullptr ? *victim : call, plan);
    if (victim == nullptr) return false;
  }
}

// Who gives up blocks for `call`: a stalled call, whatever its age, else one younger than `call`;
// the youngest first.
Call* Scheduler::Victim(const Call& call, bool of_tenant) const {
  for (const bool stalled : {true, false}) {
    for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
      Call* other = *it;
      if (other == &call) continue;
      if (of_tenant && other->session->tenant != call.session->tenant) continue;
      // A younger one goes even if it has no blocks yet: it must not pass an older one that has.
      if (stalled ? other->stalled() && !other->session->blocks.empty() : other->id > call.id) {
        return other;
      }
    }
  }
  return nullptr;
}

void Scheduler::Preempt(Call& call, StepPlan& plan) {
  const auto entry = std::find_if(plan.entries.begin(), plan.entries.end(),
                                  [&](const StepEntry& each) { return each.call == &call; });
  if (entry != plan.entries.end()) {
    if (entry - plan.entries.begin() < plan.decodes) --plan.decodes;
    plan.entries.erase(entry);
  }
  cache_.Truncate(*call.session, 0);
  std::erase(running_, &call);
  if (!call.one_shot) table_.Unpin(*call.session);
  call.running = false;
  waiting_.Add(call);
  waiting_.Ended(call);
  ++preemptions_;
}

}  // namespace kvasir
