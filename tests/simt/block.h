// The block that runs: its threads, whose turn it is, what they wait for.
#ifndef KVASIR_TESTS_SIMT_BLOCK_H_
#define KVASIR_TESTS_SIMT_BLOCK_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "tests/simt/fiber.h"
#include "tests/simt/include/cuda_runtime.h"
#include "tests/simt/include/simt_core.h"
#include "tests/simt/schedule.h"

namespace simt {

inline constexpr unsigned kMaxThreads = 1024;
inline constexpr unsigned kMaxWarps = kMaxThreads / kLanes;

// A cp.async that has not landed.
struct PendingCopy {
  void* to;
  const void* from;  // null: zeros
  unsigned group;
};
struct Thread {
  Fiber fiber;
  unsigned index = 0;  // in the block
  unsigned lane = 0;
  Warp* warp = nullptr;
  uint3 position{};
  std::vector<PendingCopy> copies;
  unsigned copy_group = 0;
};

// The running thread of the device; null in host code, and in every other host thread.
extern __thread Thread* t_thread __attribute__((tls_model("initial-exec")));

class Block {
 public:
  // Runs every block of the grid to its end, one after the other.
  void RunGrid(const Launch& launch);

  int Sync(BarrierResult result, int predicate, Location where);
  void SyncWarp(const Part& part, Finish finish, unsigned argument);
  // Another thread may go on in the running one's stead.
  void Interrupt();

  const Launch& launch() const { return *launch_; }
  unsigned threads() const { return thread_count_; }
  uint32_t index() const { return index_; }  // in the grid
  uint32_t barriers() const { return barriers_; }
  Random& random() { return random_; }

 private:
  static void RunThread();
  void PrepareThreads(const Launch& launch);
  void Run(uint32_t index);
  Thread* Pick();
  Thread* PickByPriority();
  Thread* NextOrFail();
  void SwitchTo(Thread* next);
  void Exit();
  void CheckSameBarrier(Location where);
  void CheckSameCollective(const Warp& warp, unsigned waiting, const Part& part);
  void ReleaseBlock();
  void FinishCollective(Warp& warp, unsigned mask, const char* name, Finish finish,
                        unsigned argument);
  void FinishOnExit(Warp& warp);
  void SetRunnable(Warp& warp, unsigned lanes);
  void ClearRunnable(Warp& warp, unsigned lane);
  [[noreturn]] void FailDeadlocked();

  struct Pending {
    Finish finish;
    unsigned argument;
  };
  const Launch* launch_ = nullptr;
  Fiber host_;
  std::deque<Thread> pool_;  // grows to the largest block
  Warp warps_[kMaxWarps];
  Thread* lanes_[kMaxWarps][kLanes] = {};
  Pending pending_[kMaxWarps][kLanes] = {};
  unsigned thread_count_ = 0;
  unsigned warp_count_ = 0;
  unsigned ready_ = 0;  // warps that have runnable lanes
  uint32_t index_ = 0;
  uint32_t barriers_ = 0;  // passed
  unsigned waiting_ = 0;   // threads at the barrier
  unsigned exited_ = 0;
  BarrierResult result_kind_ = BarrierResult::kNone;
  unsigned true_predicates_ = 0;
  int result_ = 0;
  Random random_{0};
  unsigned priority_[kMaxWarps] = {};
  uint64_t steps_ = 0;
  uint64_t change_at_ = 0;
};

extern Block& g_block;
extern Statistics g_statistics;
inline Block& TheBlock() { return g_block; }
inline Statistics& TheStatistics() { return g_statistics; }

}  // namespace simt

#endif  // KVASIR_TESTS_SIMT_BLOCK_H_
