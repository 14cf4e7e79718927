#ifndef KVASIR_SERVICES_CLI_PULL_DISPLAY_H_
#define KVASIR_SERVICES_CLI_PULL_DISPLAY_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <utility>

namespace kvasir::cli {

// "8.04 GB".
std::string BytesText(double bytes);

// How far a download is, on stderr: a bar with rate and time left where that is a terminal, a line
// every few seconds where it is not. Thread-safe.
class PullDisplay {
 public:
  PullDisplay();
  // Clears the bar.
  ~PullDisplay();
  PullDisplay(const PullDisplay&) = delete;
  PullDisplay& operator=(const PullDisplay&) = delete;

  // Bytes that are there, of `total`, and how many of them have come since it began.
  void Show(int64_t done, int64_t total, int64_t received);
  // A line that stays.
  void Tell(const std::string& line);

 private:
  using Clock = std::chrono::steady_clock;

  // Bytes a second, lately.
  double Rate(Clock::time_point now, int64_t received);
  void ClearBar();

  const bool terminal_;
  std::mutex mutex_;
  Clock::time_point next_;
  std::deque<std::pair<Clock::time_point, int64_t>> samples_;  // bytes received by then
  bool bar_shown_ = false;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_PULL_DISPLAY_H_
