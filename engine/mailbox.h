#ifndef KVASIR_ENGINE_MAILBOX_H_
#define KVASIR_ENGINE_MAILBOX_H_

#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace kvasir {

// What other threads want done on the engine's thread, in the order in which they asked.
class Mailbox {
 public:
  using Task = absl::AnyInvocable<void()>;

  void Post(Task task) {
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    wake_.notify_one();
  }

  // Moves what is there into `tasks` (emptied first).
  void Take(std::vector<Task>& tasks) {
    tasks.clear();
    const std::lock_guard lock(mutex_);
    tasks.swap(tasks_);
  }

  // Returns when a task is there, or at `until`.
  void Wait(absl::Time until) {
    std::unique_lock lock(mutex_);
    const auto some = [this] { return !tasks_.empty(); };
    if (until == absl::InfiniteFuture()) {
      wake_.wait(lock, some);
    } else {
      wake_.wait_for(lock, absl::ToChronoNanoseconds(until - absl::Now()), some);
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Task> tasks_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_MAILBOX_H_
