#include "engine/backend/cpu/thread_pool.h"

#include <emmintrin.h>
#include <sched.h>

#include <algorithm>

#include "engine/check.h"

namespace kvasir {
namespace {

// About 50 to 100 microseconds of pause instructions: longer than the serial work between two
// loops of a step.
constexpr int kSpins = 2000;

}  // namespace

int AvailableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

ThreadPool::ThreadPool(int threads) {
  KVASIR_CHECK(threads >= 1);
  // With more threads than CPUs a spinning worker would only hold up a working one.
  spins_ = threads <= AvailableCpus() ? kSpins : 0;
  for (int worker = 1; worker < threads; ++worker) {
    workers_.emplace_back([this, worker] { Work(worker); });
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(const Job& job) {
  if (workers_.empty() || job.tasks <= 1) {
    for (int task = 0; task < job.tasks; ++task) job.call(job.body, task, 0);
    return;
  }
  job_ = job;
  next_.store(0, std::memory_order_relaxed);
  state_.store(kOpen, std::memory_order_release);
  epoch_.fetch_add(1);
  epoch_.notify_all();
  Drain(0);
  // A worker that wakes only now finds the job closed: nobody waits for a sleeper.
  state_.fetch_and(~kOpen, std::memory_order_acq_rel);
  for (int spins = 0; state_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < spins_) {
      _mm_pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::Drain(int worker) {
  const Job job = job_;
  for (int task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < job.tasks;) {
    job.call(job.body, task, worker);
  }
}

void ThreadPool::Work(int worker) {
  uint32_t seen = 0;
  for (;;) {
    uint32_t epoch;
    for (int spins = 0; (epoch = epoch_.load(std::memory_order_acquire)) == seen; ++spins) {
      if (spins < spins_) {
        _mm_pause();
      } else {
        epoch_.wait(seen, std::memory_order_acquire);
      }
    }
    seen = epoch;
    if (stop_.load()) return;
    uint32_t state = state_.load(std::memory_order_acquire);
    while ((state & kOpen) != 0) {
      if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) continue;
      Drain(worker);
      state_.fetch_sub(1, std::memory_order_release);
      break;
    }
  }
}

}  // namespace kvasir
