#ifndef KVASIR_SERVICES_LOAD_PROGRESS_H_
#define KVASIR_SERVICES_LOAD_PROGRESS_H_

#include <chrono>
#include <cstdint>

namespace kvasir {

// How far the model is loaded: a bar on stderr where that is a terminal, lines in the log where it
// is not. Shows nothing of a load that takes less than half a second.
class LoadProgressBar {
 public:
  LoadProgressBar();
  // Clears the bar.
  ~LoadProgressBar();
  LoadProgressBar(const LoadProgressBar&) = delete;
  LoadProgressBar& operator=(const LoadProgressBar&) = delete;

  // Bytes done of `total`.
  void Show(int64_t done, int64_t total);

 private:
  using Clock = std::chrono::steady_clock;

  void ShowBar(int64_t done, int64_t total);

  const bool terminal_;
  Clock::time_point next_;  // when there is something to show again
  bool bar_shown_ = false;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_LOAD_PROGRESS_H_
