#include "services/cli/pull_display.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kvasir::cli {
namespace {

using std::chrono::seconds;

constexpr std::chrono::milliseconds kBarPeriod(100), kLinePeriod(5000);
constexpr seconds kRateWindow(5);
constexpr int kBarWidth = 30;

std::string TimeText(double time) {
  const int64_t whole = std::lround(std::min(time, 1e6));
  const int64_t hours = whole / 3600, minutes = whole / 60 % 60;
  if (hours > 0) return absl::StrFormat("%d:%02d:%02d", hours, minutes, whole % 60);
  return absl::StrFormat("%d:%02d", minutes, whole % 60);
}

}  // namespace

std::string BytesText(double bytes) {
  constexpr const char* kUnits[] = {"kB", "MB", "GB"};
  double number = bytes / 1e3;
  int unit = 0;
  for (; number >= 1e3 && unit < 2; ++unit) number /= 1e3;
  return absl::StrFormat("%.*f %s", unit == 2 ? 2 : 1, number, kUnits[unit]);
}

PullDisplay::PullDisplay()
    : terminal_(isatty(STDERR_FILENO) != 0),
      next_(Clock::now() + (terminal_ ? kBarPeriod : kLinePeriod)),
      samples_({{Clock::now(), 0}}) {}

PullDisplay::~PullDisplay() { ClearBar(); }

double PullDisplay::Rate(Clock::time_point now, int64_t received) {
  samples_.emplace_back(now, received);
  while (samples_.size() > 2 && now - samples_.front().first > kRateWindow) samples_.pop_front();
  const std::chrono::duration<double> time = now - samples_.front().first;
  return static_cast<double>(received - samples_.front().second) / time.count();
}

void PullDisplay::Show(int64_t done, int64_t total, int64_t received) {
  const std::lock_guard lock(mutex_);
  const Clock::time_point now = Clock::now();
  if (now < next_ || total <= 0) return;
  next_ = now + (terminal_ ? kBarPeriod : kLinePeriod);
  const double share = std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
  const double rate = Rate(now, received);
  std::string text = absl::StrFormat("%3d %%  %s of %s  %s/s", static_cast<int>(100 * share),
                                     BytesText(static_cast<double>(done)),
                                     BytesText(static_cast<double>(total)), BytesText(rate));
  if (rate > 0) {
    absl::StrAppend(&text, "  ", TimeText(static_cast<double>(total - done) / rate), " left");
  }
  if (terminal_) {
    const auto filled = static_cast<size_t>(kBarWidth * share);
    std::fprintf(stderr, "\rpulling [%s%s] %s\033[K", std::string(filled, '#').c_str(),
                 std::string(kBarWidth - filled, '.').c_str(), text.c_str());
    bar_shown_ = true;
  } else {
    std::fprintf(stderr, "pulling: %s\n", text.c_str());
  }
}

void PullDisplay::Tell(const std::string& line) {
  const std::lock_guard lock(mutex_);
  ClearBar();
  std::fprintf(stderr, "%s\n", line.c_str());
}

void PullDisplay::ClearBar() {
  if (bar_shown_) std::fputs("\r\033[K", stderr);
  bar_shown_ = false;
}

}  // namespace kvasir::cli
