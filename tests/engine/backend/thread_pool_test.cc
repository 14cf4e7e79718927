#include "engine/backend/cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace kvasir {
namespace {

TEST(ThreadPoolTest, EveryTaskRunsOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const int tasks : {0, 1, 2, 7, 1000}) {
      std::vector<int> runs(tasks, 0);
      pool.ParallelFor(tasks, [&](int task, int worker) {
        ASSERT_GE(worker, 0);
        ASSERT_LT(worker, threads);
        ++runs[task];  // not atomic: each task belongs to one worker
      });
      EXPECT_EQ(runs, std::vector<int>(tasks, 1));
    }
  }
}

TEST(ThreadPoolTest, LoopsFollowEachOtherAndSeeWhatWasWritten) {
  ThreadPool pool(3);
  std::vector<int> values(16, 0);
  for (int round = 1; round <= 2000; ++round) {
    pool.ParallelFor(16, [&](int task, int) {
      ASSERT_EQ(values[task], round - 1);
      values[(task)] = round;
    });
  }
  EXPECT_EQ(values, std::vector<int>(16, 2000));
}

TEST(ThreadPoolTest, AWorkersMemoryIsItsOwn) {
  ThreadPool pool(4);
  std::vector<int> sums(4, 0);
  for (int round = 0; round < 300; ++round) {
    pool.ParallelFor(64, [&](int task, int worker) { sums[worker] += task; });
  }
  int sum = 0;
  for (const int s : sums) sum += s;
  EXPECT_EQ(sum, 300 * 64 * 63 / 2);
}

TEST(ThreadPoolTest, SleepersWake) {
  ThreadPool pool(2);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // longer than they spin
    // Each waits for the other: only two threads can finish this.
    std::atomic<int> arrived{0};
    pool.ParallelFor(2, [&](int, int) {
      ++arrived;
      while (arrived.load() < 2) std::this_thread::yield();
    });
    EXPECT_EQ(arrived.load(), 2);
  }
}

TEST(ThreadPoolTest, EndsWithoutWork) {
  for (int i = 0; i < 20; ++i) ThreadPool pool(3);
}

TEST(ThreadPoolTest, CountsTheCpusThatItMayUse) { EXPECT_GE(AvailableCpus(), 1); }

}  // namespace
}  // namespace kvasir
