#include "engine/schedule/wait_queue.h"

#include <algorithm>
#include <limits>

#include "engine/check.h"

namespace kvasir {

WaitQueue::Tenant& WaitQueue::Activate(const Call& call) {
  Tenant& tenant = tenants_[TenantOf(call)];
  if (tenant.active()) return tenant;
  uint64_t least = std::numeric_limits<uint64_t>::max();
  for (const auto& [name, other] : tenants_) {
    if (other.active()) least = std::min(least, other.served);
  }
  if (least != std::numeric_limits<uint64_t>::max()) tenant.served = std::max(tenant.served, least);
  return tenant;
}

// Counters of those who were served more than others are kept as long as anyone could overtake.
void WaitQueue::DropIdleTenants() {
  const bool anyone = std::any_of(tenants_.begin(), tenants_.end(),
                                  [](const auto& tenant) { return tenant.second.active(); });
  if (!anyone) tenants_.clear();
}

void WaitQueue::Add(Call& call) {
  std::deque<Call*>& waiting = Activate(call).waiting;
  const auto place = std::find_if(waiting.begin(), waiting.end(),
                                  [&](const Call* other) { return other->id > call.id; });
  waiting.insert(place, &call);
  ++size_;
}

void WaitQueue::Remove(Call& call) {
  const auto tenant = tenants_.find(TenantOf(call));
  if (tenant == tenants_.end()) return;
  size_ -= static_cast<int>(std::erase(tenant->second.waiting, &call));
  DropIdleTenants();
}

Call* WaitQueue::Next() const {
  Call* next = nullptr;
  uint64_t least = 0;
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.passed_over) continue;
    const auto first = std::find_if(tenant.waiting.begin(), tenant.waiting.end(),
                                    [](const Call* call) { return !call->stalled(); });
    if (first == tenant.waiting.end()) continue;
    if (next == nullptr || tenant.served < least ||
        (tenant.served == least && (*first)->id < next->id)) {
      next = *first;
      least = tenant.served;
    }
  }
  return next;
}

void WaitQueue::PassOverNobody() {
  for (auto& [name, tenant] : tenants_) tenant.passed_over = false;
}

void WaitQueue::Began(const Call& call) { ++Activate(call).running; }

void WaitQueue::Ended(const Call& call) {
  Tenant& tenant = tenants_.at(TenantOf(call));
  KVASIR_CHECK(tenant.running > 0);
  --tenant.running;
  DropIdleTenants();
}

void WaitQueue::Charge(const Call& call, int rows) {
  tenants_.at(TenantOf(call)).served += static_cast<uint64_t>(rows);
}

}  // namespace kvasir
