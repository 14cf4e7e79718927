#ifndef KVASIR_SERVICES_WORKER_POOL_H_
#define KVASIR_SERVICES_WORKER_POOL_H_

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"

namespace kvasir {

// Threads for work that takes too long for gRPC's own, which must stay free to answer: one large
// text would hold up everybody's health checks.
class WorkerPool {
 public:
  using Task = absl::AnyInvocable<void()>;

  // 0 threads: one for each core.
  explicit WorkerPool(int threads);
  // Does what is left, then ends.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Thread-safe. Tasks start in the order in which they came.
  void Run(Task task);

 private:
  void Work();

  std::mutex mutex_;
  std::condition_variable wake_;
  // guarded by mutex_
  std::deque<Task> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_WORKER_POOL_H_
