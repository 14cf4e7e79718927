#include "services/cli/interrupts.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <thread>

#include "engine/check.h"

namespace kvasir::cli {
namespace {

// What a signal handler may do is little: it wakes the watching thread.
int signal_pipe = -1;

void OnSignal(int) {
  const int saved_errno = errno;
  [[maybe_unused]] const ssize_t written = write(signal_pipe, "", 1);
  errno = saved_errno;
}

}  // namespace

Interrupts& Interrupts::Get() {
  static Interrupts& interrupts = *new Interrupts();  // Outlives the watching thread.
  return interrupts;
}

Interrupts::Interrupts() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  int ends[2];
  KVASIR_CHECK(event_ >= 0 && pipe2(ends, O_CLOEXEC) == 0);
  signal_pipe = ends[1];
  std::thread([this, pipe = ends[0]] { Watch(pipe); }).detach();
  AlsoTake(SIGINT);
}

void Interrupts::AlsoTake(int signal) {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  KVASIR_CHECK(sigaction(signal, &action, nullptr) == 0);
}

void Interrupts::Watch(int pipe) {
  char byte = 0;
  while (true) {
    if (read(pipe, &byte, 1) != 1) continue;
    const std::lock_guard lock(mutex_);
    ++presses_;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(event_, &one, sizeof(one));
    for (const auto& [context, presses] : running_) {
      if (presses_ >= presses) context->TryCancel();
    }
  }
}

void Interrupts::Clear() {
  const std::lock_guard lock(mutex_);
  presses_ = 0;
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(event_, &count, sizeof(count));
}

void Interrupts::Wait(std::chrono::nanoseconds time) const {
  pollfd waiting = {event_, POLLIN, 0};
  poll(&waiting, 1, static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(time).count()));
}

Interrupts::Cancels::Cancels(grpc::ClientContext& context, int presses) : context_(context) {
  Interrupts& interrupts = Get();
  const std::lock_guard lock(interrupts.mutex_);
  interrupts.running_.emplace(&context, presses);
  if (interrupts.presses_ >= presses) context.TryCancel();
}

Interrupts::Cancels::~Cancels() {
  Interrupts& interrupts = Get();
  const std::lock_guard lock(interrupts.mutex_);
  interrupts.running_.erase(&context_);
}

}  // namespace kvasir::cli
