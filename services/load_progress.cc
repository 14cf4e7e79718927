#include "services/load_progress.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace kvasir {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPatience(500);
constexpr milliseconds kBarPeriod(100);
constexpr milliseconds kLinePeriod(5000);
constexpr int kBarWidth = 40;

}  // namespace

LoadProgressBar::LoadProgressBar()
    : terminal_(isatty(STDERR_FILENO) != 0), next_(Clock::now() + kPatience) {}

LoadProgressBar::~LoadProgressBar() {
  if (bar_shown_) std::fputs("\r\033[K", stderr);
}

void LoadProgressBar::Show(int64_t done, int64_t total) {
  const Clock::time_point now = Clock::now();
  if (now < next_ || total <= 0) return;
  next_ = now + (terminal_ ? kBarPeriod : kLinePeriod);
  if (terminal_) {
    ShowBar(done, total);
  } else {
    spdlog::info("loading: {} of {} MiB", done >> 20, total >> 20);
  }
}

void LoadProgressBar::ShowBar(int64_t done, int64_t total) {
  const int filled = static_cast<int>(kBarWidth * done / total);
  const std::string bar = std::string(filled, '#') + std::string(kBarWidth - filled, '.');
  std::fprintf(stderr, "\rloading [%s] %3d %%  %lld of %lld MiB", bar.c_str(),
               static_cast<int>(100 * done / total), static_cast<long long>(done >> 20),
               static_cast<long long>(total >> 20));
  bar_shown_ = true;
}

}  // namespace kvasir
