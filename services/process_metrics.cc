#include "services/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace kvasir {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily Figure(const char* name, MetricType type, const char* help, double value) {
  prometheus::ClientMetric metric;
  (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return {name, help, type, {metric}};
}

std::string Read(const char* path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The fields of /proc/self/stat from the third on, which is "state": the second may hold spaces.
std::vector<std::string> StatFields() {
  const std::string stat = Read("/proc/self/stat");
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return {};
  return absl::StrSplit(stat.substr(name_end + 1), ' ', absl::SkipEmpty());
}

// Seconds since 1970 when the machine started.
double BootTime() {
  for (const absl::string_view line : absl::StrSplit(Read("/proc/stat"), '\n')) {
    double seconds = 0;
    if (absl::StartsWith(line, "btime ") && absl::SimpleAtod(line.substr(6), &seconds)) {
      return seconds;
    }
  }
  return 0;
}

int64_t OpenDescriptors() {
  std::error_code unreadable;
  const std::filesystem::directory_iterator entries("/proc/self/fd", unreadable);
  return unreadable ? 0 : std::distance(begin(entries), end(entries)) - 1;  // this one is not meant
}

}  // namespace

std::vector<MetricFamily> ProcessMetrics::Collect() const {
  // By their numbers in proc(5).
  constexpr int kFirst = 3, kUserTime = 14, kSystemTime = 15, kThreads = 20, kStartTime = 22,
                kVirtual = 23, kResident = 24;
  const std::vector<std::string> fields = StatFields();
  const auto field = [&fields](int number) {
    const size_t index = static_cast<size_t>(number - kFirst);
    double value = 0;
    return index < fields.size() && absl::SimpleAtod(fields[index], &value) ? value : 0.0;
  };
  static const double boot_time = BootTime();
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  rlimit descriptors = {};
  getrlimit(RLIMIT_NOFILE, &descriptors);
  return {
      Figure("process_cpu_seconds_total", MetricType::Counter, "CPU time, user and system",
             (field(kUserTime) + field(kSystemTime)) / ticks),
      Figure("process_start_time_seconds", MetricType::Gauge, "Start, in seconds since 1970",
             boot_time + field(kStartTime) / ticks),
      Figure("process_resident_memory_bytes", MetricType::Gauge, "Memory in RAM",
             field(kResident) * static_cast<double>(sysconf(_SC_PAGESIZE))),
      Figure("process_virtual_memory_bytes", MetricType::Gauge, "Memory mapped", field(kVirtual)),
      Figure("process_threads", MetricType::Gauge, "Threads", field(kThreads)),
      Figure("process_open_fds", MetricType::Gauge, "Open file descriptors",
             static_cast<double>(OpenDescriptors())),
      Figure("process_max_fds", MetricType::Gauge, "File descriptors that may be open",
             static_cast<double>(descriptors.rlim_cur)),
  };
}

}  // namespace kvasir
