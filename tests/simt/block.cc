#include "tests/simt/block.h"

#include <algorithm>
#include <numeric>

#include "tests/simt/observe.h"
#include "tests/simt/shared_memory.h"

uint3 threadIdx;
uint3 blockIdx;
uint3 blockDim;
uint3 gridDim;

namespace simt {

__thread Thread* t_thread = nullptr;

namespace {

constexpr unsigned LowLanes(unsigned count) { return count == kLanes ? ~0u : (1u << count) - 1; }

unsigned RandomBit(unsigned bits, Random& random) {
  const unsigned turn = static_cast<unsigned>(random.Next() >> 59);
  const unsigned turned = turn == 0 ? bits : bits >> turn | bits << (32 - turn);
  return (__builtin_ctz(turned) + turn) & 31;
}

uint3 Position(uint32_t index, const dim3& shape) {
  return {index % shape.x, index / shape.x % shape.y, index / shape.x / shape.y};
}

}  // namespace

Block& g_block = *new Block;
Statistics g_statistics;

// --- running -----------------------------------------------------------------------------------

void Block::PrepareThreads(const Launch& launch) {
  launch_ = &launch;
  thread_count_ = launch.block.x * launch.block.y * launch.block.z;
  warp_count_ = (thread_count_ + kLanes - 1) / kLanes;
  while (pool_.size() < thread_count_) pool_.emplace_back().fiber = NewFiber();
  for (unsigned i = 0; i < thread_count_; ++i) {
    Thread& thread = pool_[i];
    thread.index = i;
    thread.lane = i % kLanes;
    thread.warp = &warps_[i / kLanes];
    thread.position = Position(i, launch.block);
    lanes_[i / kLanes][i % kLanes] = &thread;
  }
  for (unsigned i = 0; i < warp_count_; ++i) {
    warps_[i].index = i;
    warps_[i].lanes = std::min(kLanes, thread_count_ - i * kLanes);
  }
}

void Block::RunGrid(const Launch& launch) {
  host_ = HostFiber();
  PrepareThreads(launch);
  const uint64_t count = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  Statistics& statistics = TheStatistics();
  ++statistics.launches;
  statistics.blocks += count;
  statistics.threads += count * thread_count_;
  blockDim = {launch.block.x, launch.block.y, launch.block.z};
  gridDim = {launch.grid.x, launch.grid.y, launch.grid.z};
  BeginSharedMemory(launch.dynamic_shared);
  observe::BeginLaunch(launch);
  const Order order = CurrentSchedule().order;
  if (IsRandom(order)) {
    std::vector<uint32_t> blocks(count);
    std::iota(blocks.begin(), blocks.end(), 0);
    for (uint64_t i = count; i > 1; --i) {
      std::swap(blocks[i - 1], blocks[ScheduleRandom().Below(static_cast<unsigned>(i))]);
    }
    for (const uint32_t block : blocks) Run(block);
  } else {
    for (uint64_t i = 0; i < count; ++i) {
      Run(static_cast<uint32_t>(order == Order::kReversed ? count - 1 - i : i));
    }
  }
  observe::EndLaunch();
  EndSharedMemory();
}

void Block::Run(uint32_t index) {
  index_ = index;
  blockIdx = Position(index, launch_->grid);
  random_ = Random(ScheduleRandom().Next());
  ready_ = LowLanes(warp_count_);
  barriers_ = waiting_ = exited_ = true_predicates_ = 0;
  steps_ = change_at_ = 0;
  for (unsigned i = 0; i < warp_count_; ++i) {
    Warp& warp = warps_[i];
    warp.alive = warp.runnable = LowLanes(warp.lanes);
    warp.in_warp = warp.in_block = 0;
    priority_[i] = static_cast<unsigned>(random_.Next() >> 40);
  }
  for (unsigned i = 0; i < thread_count_; ++i) Prepare(pool_[i].fiber, &Block::RunThread);
  RefillSharedMemory();
  observe::BeginBlock(*this);
  Thread* const first = Pick();
  t_thread = first;
  threadIdx = first->position;
  SwitchFiber(host_, first->fiber);
  observe::EndBlock(*this);
}

void Block::RunThread() {
  Entered();
  Block& block = TheBlock();
  Thread& thread = *t_thread;
  thread.copies.clear();
  thread.copy_group = 0;
  block.launch_->body();
  ++thread.copy_group;  // what was never committed lands, too
  CopyAsyncWait(0);
  block.Exit();
}

void Block::Exit() {
  Thread& thread = *t_thread;
  Warp& warp = *thread.warp;
  warp.alive &= ~(1u << thread.lane);
  ++exited_;
  ClearRunnable(warp, thread.lane);
  FinishOnExit(warp);
  if (waiting_ != 0 && waiting_ + exited_ == thread_count_) ReleaseBlock();
  if (exited_ == thread_count_) {
    t_thread = nullptr;
    LeaveFor(thread.fiber, host_);
  }
  Thread* const next = NextOrFail();
  t_thread = next;
  threadIdx = next->position;
  LeaveFor(thread.fiber, next->fiber);
}

// --- turns -------------------------------------------------------------------------------------

void Block::SetRunnable(Warp& warp, unsigned lanes) {
  if (lanes == 0) return;
  warp.runnable |= lanes;
  ready_ |= 1u << warp.index;
}
void Block::ClearRunnable(Warp& warp, unsigned lane) {
  warp.runnable &= ~(1u << lane);
  if (warp.runnable == 0) ready_ &= ~(1u << warp.index);
}

Thread* Block::PickByPriority() {
  if (++steps_ >= change_at_) {
    priority_[random_.Below(warp_count_)] = static_cast<unsigned>(random_.Next() >> 40);
    change_at_ = steps_ + 1 + random_.Below(64 * warp_count_);
  }
  unsigned best = __builtin_ctz(ready_);
  for (unsigned rest = ready_; rest != 0; rest &= rest - 1) {
    const unsigned warp = __builtin_ctz(rest);
    if (priority_[warp] > priority_[best]) best = warp;
  }
  return lanes_[best][RandomBit(warps_[best].runnable, random_)];
}

Thread* Block::Pick() {
  if (ready_ == 0) return nullptr;
  switch (CurrentSchedule().order) {
    case Order::kInOrder: {  // the running warp goes on while it can
      const unsigned current = t_thread != nullptr ? t_thread->warp->index : 0;
      const unsigned later = ready_ & ~LowLanes(current);
      const unsigned warp = __builtin_ctz(later != 0 ? later : ready_);
      return lanes_[warp][__builtin_ctz(warps_[warp].runnable)];
    }
    case Order::kReversed: {
      const unsigned warp = 31 - __builtin_clz(ready_);
      return lanes_[warp][31 - __builtin_clz(warps_[warp].runnable)];
    }
    case Order::kRandom: {
      const unsigned warp = RandomBit(ready_, random_);
      return lanes_[warp][RandomBit(warps_[warp].runnable, random_)];
    }
    case Order::kPriority:
      return PickByPriority();
  }
  return nullptr;
}

Thread* Block::NextOrFail() {
  Thread* const next = Pick();
  if (next == nullptr) FailDeadlocked();
  return next;
}

void Block::SwitchTo(Thread* next) {
  Thread* const self = t_thread;
  if (next == self) return;
  ++TheStatistics().switches;
  t_thread = next;
  threadIdx = next->position;
  SwitchFiber(self->fiber, next->fiber);
}

void Block::Interrupt() {
  if (IsRandom(CurrentSchedule().order) && random_.OneIn(8)) SwitchTo(NextOrFail());
}

// --- the block's barrier -------------------------------------------------------------------------

int Block::Sync(BarrierResult result, int predicate, Location where) {
  Thread& thread = *t_thread;
  Warp& warp = *thread.warp;
  if (waiting_ != 0) CheckSameBarrier(where);
  result_kind_ = result;
  true_predicates_ += predicate != 0;
  ++waiting_;
  if (waiting_ + exited_ == thread_count_) {
    ReleaseBlock();
    return result_;
  }
  warp.parts[thread.lane] = {"__syncthreads", 0, nullptr, nullptr, where, nullptr};
  warp.in_block |= 1u << thread.lane;
  ClearRunnable(warp, thread.lane);
  SwitchTo(NextOrFail());
  return result_;
}

void Block::CheckSameBarrier(Location where) {
  for (unsigned i = 0; i < warp_count_; ++i) {
    if (warps_[i].in_block == 0) continue;
    const unsigned lane = __builtin_ctz(warps_[i].in_block);
    const Location& other = warps_[i].parts[lane].where;
    if (other.line != where.line || other.file != where.file) {
      Fail("divergent __syncthreads: threads of one block meet at different barriers", where,
           "thread %u waits at %s:%u", i * kLanes + lane, other.file, other.line);
    }
    return;
  }
}

void Block::ReleaseBlock() {
  switch (result_kind_) {
    case BarrierResult::kNone:
      break;
    case BarrierResult::kAnd:
      result_ = true_predicates_ == waiting_;
      break;
    case BarrierResult::kOr:
      result_ = true_predicates_ != 0;
      break;
    case BarrierResult::kCount:
      result_ = static_cast<int>(true_predicates_);
      break;
  }
  waiting_ = true_predicates_ = 0;
  ++barriers_;
  observe::BlockMet(*this);
  for (unsigned i = 0; i < warp_count_; ++i) {
    SetRunnable(warps_[i], warps_[i].in_block);
    warps_[i].in_block = 0;
  }
}

// --- warp collectives ----------------------------------------------------------------------------

void Block::SyncWarp(const Part& part, Finish finish, unsigned argument) {
  Thread& thread = *t_thread;
  Warp& warp = *thread.warp;
  const unsigned bit = 1u << thread.lane;
  ++TheStatistics().collectives;
  if ((part.mask & bit) == 0) {
    Fail("warp collective: calling lane is not in its mask", part.where, "%s mask %08x lane %u",
         part.name, part.mask, thread.lane);
  }
  const unsigned mask = part.mask & LowLanes(warp.lanes);  // absent lanes are as if exited
  const unsigned waiting = warp.in_warp & mask;
  if (waiting != 0) CheckSameCollective(warp, waiting, part);
  warp.parts[thread.lane] = part;
  if ((waiting | bit) == (mask & warp.alive)) {
    FinishCollective(warp, mask, part.name, finish, argument);
    return;
  }
  warp.in_warp |= bit;
  pending_[warp.index][thread.lane] = {finish, argument};
  ClearRunnable(warp, thread.lane);
  SwitchTo(NextOrFail());
}

void Block::CheckSameCollective(const Warp& warp, unsigned waiting, const Part& part) {
  const unsigned lane = __builtin_ctz(waiting);
  const Part& other = warp.parts[lane];
  if (other.mask == part.mask && other.name == part.name && other.where.line == part.where.line) {
    return;
  }
  Fail("divergent warp collective: lanes of one mask are in different calls", part.where,
       "%s(mask %08x) against %s(mask %08x) of lane %u at %s:%u", part.name, part.mask, other.name,
       other.mask, lane, other.where.file, other.where.line);
}

void Block::FinishCollective(Warp& warp, unsigned mask, const char* name, Finish finish,
                             unsigned argument) {
  observe::LanesMet(warp, mask & warp.alive, name == kSyncWarp);
  finish(warp, mask & warp.alive, argument);
  const unsigned others = warp.in_warp & mask;
  warp.in_warp &= ~mask;
  SetRunnable(warp, others);
}

// Whoever waited for the exited lane alone goes on.
void Block::FinishOnExit(Warp& warp) {
  for (unsigned rest = warp.in_warp; rest != 0;) {
    const unsigned lane = __builtin_ctz(rest);
    const unsigned mask = warp.parts[lane].mask & LowLanes(warp.lanes);
    rest &= ~mask;
    if ((mask & warp.alive) != (warp.in_warp & mask)) continue;
    const Pending& pending = pending_[warp.index][lane];
    FinishCollective(warp, mask, warp.parts[lane].name, pending.finish, pending.argument);
  }
}

}  // namespace simt
