#ifndef KVASIR_ENGINE_SCHEDULE_SCHEDULER_H_
#define KVASIR_ENGINE_SCHEDULE_SCHEDULER_H_

#include <cstdint>
#include <vector>

#include "engine/batch.h"
#include "engine/cache/kv_cache.h"
#include "engine/cache/session_table.h"
#include "engine/schedule/call.h"
#include "engine/schedule/step_pace.h"
#include "engine/schedule/wait_queue.h"

namespace kvasir {

struct SchedulerLimits {
  int max_step_tokens = 512;
  int max_running = 64;
  int max_queue = 1024;
  // Blocks that the sessions and calls of one tenant may hold together; 0: all.
  int max_tenant_blocks = 0;
  // Rows of logits that a step may have beyond one for each running call: prompt logprobs.
  int max_prompt_logits = 64;
  int max_logits() const { return max_running + max_prompt_logits; }
};

// Some of one call's pending tokens: positions first .. first + count.
struct StepEntry {
  Call* call = nullptr;
  size_t first = 0;
  int count = 0;
};

struct StepPlan {
  std::vector<StepEntry> entries;
  int decodes = 0;  // the first entries, a row each; the others are parts of prompts
  std::vector<BlockCopy> block_copies;  // to be made in this order before the rows are computed
  std::vector<Call*> admitted;          // for the first time or again

  int rows() const;
};

// Continuous batching (Yu et al., Orca, OSDI 2022) over a paged cache (Kwon et al., vLLM, SOSP
// 2023): every step decodes each running call, and takes as much of the prompts besides as leaves
// the decoding calls their rhythm (StepPace).
//
// Nobody is ever deadlocked: blocks of idle sessions go first, then those of calls whose readers
// are slow, then those of the youngest running call, which waits and is recomputed later. The
// oldest call always advances, StepPace's pauses apart. Tenants share fairly, calls of one tenant
// come in their order (WaitQueue). Who has its share of the blocks gets more only from what is its
// own, in that same order, and keeps nobody else waiting.
class Scheduler {
 public:
  Scheduler(KvCache& cache, SessionTable& table, const SchedulerLimits& limits)
      : cache_(cache), table_(table), limits_(limits) {
    in_use_.reserve(limits.max_running);
  }

  bool queue_full() const { return waiting_.size() >= limits_.max_queue; }
  // Puts the call at the end of its tenant's queue. REQUIRES: alone, it fits the pool and its
  // tenant's share of that.
  void Add(Call& call);
  // Takes an ended call out, wherever it is.
  void Remove(Call& call);

  // The next step: blocks are reserved, copies listed. False: nobody can run now, and nothing is to
  // be copied.
  bool Plan(StepPlan& plan);
  // How long the planned step took, and that its rows are in the cache.
  void Record(const StepPlan& plan, double seconds);

  int running() const { return static_cast<int>(running_.size()); }
  int waiting() const { return waiting_.size(); }
  uint64_t preemptions() const { return preemptions_; }
  // Of the calls that were let in, the tokens that their own sessions had no K and V of, and how
  // many of these others had computed.
  uint64_t prefix_queries() const { return prefix_queries_; }
  uint64_t prefix_hits() const { return prefix_hits_; }
  // Looks at every block.
  KvCache::Usage CountBlocks();

 private:
  void Admit(StepPlan& plan);
  enum class Room { kIs, kNot, kNotOfTenant };
  // Room for one call more: blocks of idle sessions are evicted for it.
  Room MakeRoomToAdmit(Call& call, bool alone, StepPlan& plan);
  // Whether the call's tenant may hold so many blocks more; its idle sessions are evicted for it.
  bool IsWithinShare(const Call& call, int more);
  // Blocks that the tenant's running calls will need for the tokens that they have.
  int BlocksPromised(const std::string& tenant) const;
  bool IsAloneOfTenant(const Call& call) const;
  Call* TakePrompt();
  // Gives `call` up to `budget` rows, `spare_logits` of them and one more with logits; returns how
  // many. REQUIRES: budget > 0, spare_logits >= 0
  int PlanCall(Call& call, int budget, int& spare_logits, StepPlan& plan);
  bool MakeRoom(int blocks, Call& call, StepPlan& plan);
  Call* Victim(const Call& call, bool of_tenant) const;
  void Preempt(Call& call, StepPlan& plan);

  KvCache& cache_;
  SessionTable& table_;
  const SchedulerLimits limits_;
  WaitQueue waiting_;
  StepPace pace_;
  std::vector<Call*> running_;          // oldest first
  std::vector<Call*> order_;            // scratch of Plan
  std::vector<const Session*> in_use_;  // scratch of CountBlocks
  uint64_t preemptions_ = 0;
  uint64_t prefix_queries_ = 0, prefix_hits_ = 0;  // tokens
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_SCHEDULE_SCHEDULER_H_
