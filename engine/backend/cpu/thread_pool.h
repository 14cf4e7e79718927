#ifndef KVASIR_ENGINE_BACKEND_CPU_THREAD_POOL_H_
#define KVASIR_ENGINE_BACKEND_CPU_THREAD_POOL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace kvasir {

// Threads for the short parallel loops of one step. Workers spin for a moment after each loop, so
// that the next one starts in about a microsecond, and then sleep. Nothing is allocated per call.
class ThreadPool {
 public:
  // `threads` includes the calling thread. REQUIRES: threads >= 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(task, worker) once for every task in [0, tasks), worker in [0, threads()); returns
  // when all have returned. Which worker takes which task is open; the caller is worker 0.
  // REQUIRES: called by one thread at a time; body does not call ParallelFor.
  template <typename Body>
  void ParallelFor(int tasks, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    Run({[](const void* b, int task, int worker) {
           (*const_cast<Plain*>(static_cast<const Plain*>(b)))(task, worker);
         },
         std::addressof(body), tasks});
  }

  // The same loop, on the calling thread alone unless `parallel`: for work too small to share.
  template <typename Body>
  void For(bool parallel, int tasks, Body&& body) {
    if (parallel) {
      ParallelFor(tasks, body);
    } else {
      for (int task = 0; task < tasks; ++task) body(task, 0);
    }
  }

 private:
  struct Job {
    void (*call)(const void* body, int task, int worker) = nullptr;
    const void* body = nullptr;
    int tasks = 0;
  };

  void Run(const Job& job);
  void Work(int worker);
  void Drain(int worker);

  // state_: whether the job may be joined, and how many workers are in it. A job is written only
  // while it is closed and empty.
  static constexpr uint32_t kOpen = 1u << 31;
  Job job_;
  alignas(64) std::atomic<uint32_t> state_{0};
  alignas(64) std::atomic<int> next_{0};
  alignas(64) std::atomic<uint32_t> epoch_{0};  // one more with each job; workers sleep on it
  std::atomic<bool> stop_{false};
  int spins_ = 0;
  std::vector<std::thread> workers_;
};

// CPUs that this process may run on.
int AvailableCpus();

}  // namespace kvasir

#endif  // KVASIR_ENGINE_BACKEND_CPU_THREAD_POOL_H_
