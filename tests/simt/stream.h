// Queues of work, and who does it when.
#ifndef KVASIR_TESTS_SIMT_STREAM_H_
#define KVASIR_TESTS_SIMT_STREAM_H_

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/simt/include/cuda_runtime.h"

namespace simt {

using Work = std::function<void()>;

// What a capture recorded, in order.
class Graph {
 public:
  std::vector<Work> nodes;
  bool uploaded = false;
};

class Event {
 public:
  // A record that somebody waits for outlives the next one.
  struct Record {
    bool done = false;
    double milliseconds = 0;  // when
  };
  std::shared_ptr<Record> last;  // null: never recorded
};

class Stream {
 public:
  explicit Stream(bool blocking) : blocking_(blocking) {}

  bool blocking() const { return blocking_; }  // with the default stream
  bool empty() const { return queue_.empty(); }
  bool ready() const;
  // Does the first work.  REQUIRES: ready().
  void Step();
  void Add(Work work);
  void AddWait(std::shared_ptr<Event::Record> record);

  std::unique_ptr<Graph> capture;
  std::thread::id capturing_thread;

 private:
  struct Item {
    Work work;
    std::shared_ptr<Event::Record> wait;
  };
  bool blocking_;
  std::deque<Item> queue_;
};

// Held by whoever enqueues or does work: there is one device.
std::recursive_mutex& Lock();
// Whether this host thread captures. The rest: under the lock.
bool AnyCapture();
void DrainAll();
void Drain(Stream* stream);
// Does queued work, of streams that the schedule chooses, until done() is true.
void DrainUntil(const std::function<bool()>& done);
// The default stream and those that wait for it and it for them.
void DrainDefault();
// null: the default stream.
Stream* Resolve(cudaStream_t stream);
// To the stream's capture, or its queue; done now or later, as the schedule wants.
cudaError_t Enqueue(cudaStream_t stream, Work work);

}  // namespace simt

#endif  // KVASIR_TESTS_SIMT_STREAM_H_
