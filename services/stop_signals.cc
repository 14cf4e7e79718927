#include "services/stop_signals.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>

#include "absl/time/clock.h"
#include "engine/check.h"

namespace kvasir {
namespace {

constexpr char kSignalByte = 's';
constexpr char kNotifyByte = 'n';

// A handler can reach only what is global, and may call only what is async-signal-safe.
int g_pipe[2] = {-1, -1};
std::atomic<bool> g_armed = false;
static_assert(std::atomic<bool>::is_always_lock_free);

void Send(char byte) {
  const int saved_errno = errno;
  // A full pipe has woken the waiter already.
  [[maybe_unused]] const ssize_t written = write(g_pipe[1], &byte, 1);
  errno = saved_errno;
}

void HandleSignal(int signal) {
  if (!g_armed) _exit(128 + signal);
  Send(kSignalByte);
}

void SetHandler(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (int signal : {SIGINT, SIGTERM}) KVASIR_CHECK(sigaction(signal, &action, nullptr) == 0);
}

}  // namespace

StopSignals::StopSignals() {
  KVASIR_CHECK(g_pipe[0] == -1);
  KVASIR_CHECK(pipe2(g_pipe, O_CLOEXEC | O_NONBLOCK) == 0);
  SetHandler(HandleSignal);
}

StopSignals::~StopSignals() {
  SetHandler(SIG_DFL);
  g_armed = false;
  for (int& end : g_pipe) {
    close(end);
    end = -1;
  }
}

void StopSignals::Arm() { g_armed = true; }

StopSignals::Event StopSignals::Wait(absl::Duration timeout) {
  const absl::Time until = absl::Now() + timeout;
  while (true) {
    char byte = 0;
    if (read(g_pipe[0], &byte, 1) == 1) {
      return byte == kSignalByte ? Event::kSignal : Event::kNotified;
    }
    const int64_t left = absl::ToInt64Milliseconds(until - absl::Now());
    if (left <= 0) return Event::kTimeout;
    pollfd readable = {g_pipe[0], POLLIN, 0};
    poll(&readable, 1,
         timeout == absl::InfiniteDuration() ? -1 : int(std::min<int64_t>(left, INT_MAX)));
  }
}

void StopSignals::Notify() { Send(kNotifyByte); }

}  // namespace kvasir
