#include "tests/simt/stream.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <set>
#include <utility>

#include "tests/simt/block.h"
#include "tests/simt/device.h"
#include "tests/simt/memory.h"
#include "tests/simt/schedule.h"

namespace simt {
namespace {

struct State {
  Stream default_stream{true};
  std::vector<Stream*> streams{&default_stream};
  std::set<const void*> loaded;  // kernels
};
State& TheState() {
  static State& state = *new State;
  return state;
}

double Now() {
  using Milliseconds = std::chrono::duration<double, std::milli>;
  return Milliseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool AllEmpty() {
  const auto& streams = TheState().streams;
  return std::all_of(streams.begin(), streams.end(), [](Stream* s) { return s->empty(); });
}

// One piece of work, of a stream that the schedule chooses; false where none is ready. `wanted` is
// the stream that somebody waits for, or null.
bool StepAny(Stream* wanted) {
  std::vector<Stream*> ready;
  for (Stream* const stream : TheState().streams) {
    if (stream->ready()) ready.push_back(stream);
  }
  if (ready.empty()) return false;
  const Order order = CurrentSchedule().order;
  Stream* chosen = ready[0];
  if (order == Order::kReversed) {
    chosen = wanted != nullptr && wanted->ready() ? wanted : ready.back();
  } else if (IsRandom(order)) {
    chosen = ready[ScheduleRandom().Below(static_cast<unsigned>(ready.size()))];
  }
  chosen->Step();
  return true;
}

void DrainUntil(const std::function<bool()>& done, Stream* wanted) {
  if (t_thread != nullptr) Fail("the runtime is called by a kernel", Location::Current(), "%s", "");
  const DeviceAccess access;
  while (!done()) {
    if (!StepAny(wanted)) {
      Fail("streams wait for events that never come", Location::Current(), "%s", "");
    }
  }
}

}  // namespace

bool Stream::ready() const {
  return !queue_.empty() && (queue_.front().wait == nullptr || queue_.front().wait->done);
}
void Stream::Step() {
  const Work work = std::move(queue_.front().work);
  queue_.pop_front();
  if (!work) return;
  const DeviceAccess access;
  work();
}
void Stream::Add(Work work) { queue_.push_back({std::move(work), nullptr}); }
void Stream::AddWait(std::shared_ptr<Event::Record> record) {
  queue_.push_back({nullptr, std::move(record)});
}

std::recursive_mutex& Lock() {
  static std::recursive_mutex& mutex = *new std::recursive_mutex;
  return mutex;
}

bool AnyCapture() {
  std::lock_guard lock(Lock());
  const auto& streams = TheState().streams;
  return std::any_of(streams.begin(), streams.end(), [](Stream* s) {
    return s->capture != nullptr && s->capturing_thread == std::this_thread::get_id();
  });
}

void DrainUntil(const std::function<bool()>& done) { DrainUntil(done, nullptr); }
void DrainAll() { DrainUntil(AllEmpty); }
void Drain(Stream* stream) {
  DrainUntil([&] { return stream->empty(); }, stream);
}
void DrainDefault() {
  for (Stream* const stream : TheState().streams) {
    if (stream->blocking()) Drain(stream);
  }
}

Stream* Resolve(cudaStream_t stream) {
  return stream != nullptr ? stream : &TheState().default_stream;
}

cudaError_t Enqueue(cudaStream_t handle, Work work) {
  std::lock_guard lock(Lock());
  Stream* const stream = Resolve(handle);
  if (stream->capture != nullptr) {
    stream->capture->nodes.push_back(std::move(work));
    return cudaSuccess;
  }
  if (handle == nullptr) {
    if (AnyCapture()) return SetError(cudaErrorStreamCaptureImplicit);
    for (Stream* const other : TheState().streams) {
      if (other != stream && other->blocking()) Drain(other);
    }
  } else if (stream->blocking()) {
    Drain(Resolve(nullptr));
  }
  stream->Add(std::move(work));
  const Order order = CurrentSchedule().order;
  if (order == Order::kInOrder || (IsRandom(order) && ScheduleRandom().OneIn(4))) {
    while (stream->ready()) stream->Step();
  }
  return cudaSuccess;
}

void MarkLoaded(const void* kernel) {
  std::lock_guard lock(Lock());
  TheState().loaded.insert(kernel);
}

cudaError_t EnqueueLaunch(cudaStream_t stream, Launch launch) {
  if (const cudaError_t error = RequireDevice(); error != cudaSuccess) return error;
  if (const cudaError_t error = CheckLaunch(launch); error != cudaSuccess) return SetError(error);
  std::lock_guard lock(Lock());
  const bool recorded = Resolve(stream)->capture != nullptr;
  if (recorded && !TheState().loaded.contains(launch.kernel)) {
    return SetError(cudaErrorStreamCaptureUnsupported);
  }
  if (!recorded) ++TheStatistics().single_launches;
  MarkLoaded(launch.kernel);
  return Enqueue(stream, [launch = std::move(launch)] { TheBlock().RunGrid(launch); });
}

}  // namespace simt

using simt::Lock;
using simt::SetError;

// --- streams -----------------------------------------------------------------------------------

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (const cudaError_t error = simt::RequireDevice(); error != cudaSuccess) return error;
  std::lock_guard lock(Lock());
  *stream = new simt::Stream((flags & cudaStreamNonBlocking) == 0);
  simt::TheState().streams.push_back(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  std::lock_guard lock(Lock());
  if (stream == nullptr) return SetError(cudaErrorInvalidResourceHandle);
  simt::Drain(stream);
  std::erase(simt::TheState().streams, stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  std::lock_guard lock(Lock());
  if (simt::Resolve(stream)->capture != nullptr) {
    return SetError(cudaErrorStreamCaptureUnsupported);
  }
  simt::Drain(simt::Resolve(stream));
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  std::lock_guard lock(Lock());
  if (simt::Resolve(stream)->empty()) return cudaSuccess;
  simt::StepAny(simt::Resolve(stream));  // asking often enough is waiting
  return cudaErrorNotReady;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  std::lock_guard lock(Lock());
  if (simt::Resolve(stream)->capture != nullptr) {
    return SetError(cudaErrorStreamCaptureUnsupported);
  }
  if (event->last != nullptr) simt::Resolve(stream)->AddWait(event->last);
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  if (const cudaError_t error = simt::RequireDevice(); error != cudaSuccess) return error;
  std::lock_guard lock(Lock());
  if (simt::AnyCapture()) return SetError(cudaErrorStreamCaptureUnsupported);
  simt::DrainAll();
  return cudaSuccess;
}

// --- events ------------------------------------------------------------------------------------

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  if (const cudaError_t error = simt::RequireDevice(); error != cudaSuccess) return error;
  *event = new simt::Event;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  std::lock_guard lock(Lock());
  if (simt::Resolve(stream)->capture != nullptr) {
    return SetError(cudaErrorStreamCaptureUnsupported);
  }
  event->last = std::make_shared<simt::Event::Record>();
  return simt::Enqueue(stream, [record = event->last] {
    record->done = true;
    record->milliseconds = simt::Now();
  });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  std::lock_guard lock(Lock());
  const auto record = event->last;
  if (record != nullptr) simt::DrainUntil([&] { return record->done; });
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  std::lock_guard lock(Lock());
  if (event->last == nullptr || event->last->done) return cudaSuccess;
  simt::StepAny(nullptr);  // asking often enough is waiting
  return cudaErrorNotReady;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  std::lock_guard lock(Lock());
  if (begin->last == nullptr || end->last == nullptr) {
    return SetError(cudaErrorInvalidResourceHandle);
  }
  if (!begin->last->done || !end->last->done) return SetError(cudaErrorNotReady);
  *milliseconds = static_cast<float>(end->last->milliseconds - begin->last->milliseconds);
  return cudaSuccess;
}

// --- graphs ------------------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  std::lock_guard lock(Lock());
  if (stream == nullptr || stream->capture != nullptr) {
    return SetError(cudaErrorStreamCaptureUnsupported);
  }
  stream->capture = std::make_unique<simt::Graph>();
  stream->capturing_thread = std::this_thread::get_id();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  std::lock_guard lock(Lock());
  if (stream == nullptr || stream->capture == nullptr) return SetError(cudaErrorInvalidValue);
  *graph = stream->capture.release();
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  std::lock_guard lock(Lock());
  *status = simt::Resolve(stream)->capture != nullptr ? cudaStreamCaptureStatusActive
                                                      : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = new simt::Graph(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t stream) {
  std::lock_guard lock(Lock());
  if (simt::Resolve(stream)->capture != nullptr) {
    return SetError(cudaErrorStreamCaptureUnsupported);
  }
  executable->uploaded = true;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  {
    std::lock_guard lock(Lock());
    ++simt::TheStatistics().graph_launches;
    simt::TheStatistics().cold_graph_launches += executable->uploaded ? 0 : 1;
    executable->uploaded = true;
  }
  return simt::Enqueue(stream, [nodes = executable->nodes] {
    for (const simt::Work& node : nodes) node();
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
