#ifndef KVASIR_ENGINE_SCHEDULE_WAIT_QUEUE_H_
#define KVASIR_ENGINE_SCHEDULE_WAIT_QUEUE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "engine/schedule/call.h"

namespace kvasir {

// Calls that wait, fair between tenants, in their order within one: next is the oldest call of the
// tenant that has been served least, by rows computed for it. Calls whose readers are slow are
// passed over: they could not run. A tenant that comes back from doing
// nothing starts level with the least served of the others: it has no claim on what it did not use
// (the virtual token counter of Sheng et al., "Fairness in Serving Large Language Models",
// OSDI 2024).
class WaitQueue {
 public:
  // Puts the call into its place by id: a call that is back after a pause comes before younger
  // ones.
  void Add(Call& call);
  // No effect where it does not wait.
  void Remove(Call& call);
  // Null where nobody waits who could run.
  Call* Next() const;
  // Next passes over the call's tenant until PassOverNobody. REQUIRES: the call waits.
  void PassOver(const Call& call) { tenants_.at(TenantOf(call)).passed_over = true; }
  void PassOverNobody();
  int size() const { return size_; }

  // Calls that run count as their tenant's activity.
  void Began(const Call& call);
  void Ended(const Call& call);
  void Charge(const Call& call, int rows);
  uint64_t served(const Call& call) const { return tenants_.at(TenantOf(call)).served; }

 private:
  struct Tenant {
    std::deque<Call*> waiting;  // oldest first
    int running = 0;
    uint64_t served = 0;  // rows
    bool passed_over = false;
    bool active() const { return running > 0 || !waiting.empty(); }
  };
  static const std::string& TenantOf(const Call& call) { return call.session->tenant; }
  Tenant& Activate(const Call& call);
  void DropIdleTenants();

  std::map<std::string, Tenant> tenants_;
  int size_ = 0;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_SCHEDULE_WAIT_QUEUE_H_
