// Ends the process with the place and the thread that went wrong.

#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <tuple>

#include "tests/simt/block.h"
#include "tests/simt/symbols.h"

namespace simt {
namespace {

[[noreturn]] void Die() {
  if (t_thread != nullptr) {
    std::fprintf(stderr, "  block (%u,%u,%u) thread (%u,%u,%u) of %s\n", blockIdx.x, blockIdx.y,
                 blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z,
                 FunctionName(TheBlock().launch().kernel).c_str());
  }
  std::fprintf(stderr, "  schedule: %s\n", ScheduleName().c_str());
  std::fflush(stderr);
  _exit(kErrorExit);
}

}  // namespace

void Fail(const char* what, Location where, const char* format, ...) {
  std::fflush(stdout);
  std::fprintf(stderr, "SIMT ERROR: %s\n  at %s:%u\n  ", what, where.file, where.line);
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fputc('\n', stderr);
  Die();
}

void Block::FailDeadlocked() {
  std::fflush(stdout);
  std::fprintf(stderr, "SIMT ERROR: deadlock: of %u threads %u have exited\n", thread_count_,
               exited_);
  // name, file, line, mask -> threads that wait there
  std::map<std::tuple<std::string, std::string, unsigned, unsigned>, std::vector<unsigned>> places;
  for (const Warp& warp : warps_) {
    if (&warp == warps_ + warp_count_) break;
    for (unsigned rest = warp.in_warp | warp.in_block; rest != 0; rest &= rest - 1) {
      const unsigned lane = __builtin_ctz(rest);
      const Part& part = warp.parts[lane];
      places[{part.name, part.where.file, part.where.line, part.mask}].push_back(
          warp.index * kLanes + lane);
    }
  }
  for (const auto& [place, threads] : places) {
    const auto& [name, file, line, mask] = place;
    std::fprintf(stderr, "  %zu threads wait in %s at %s:%u", threads.size(), name.c_str(),
                 file.c_str(), line);
    if (mask != 0) std::fprintf(stderr, " mask %08x", mask);
    std::fprintf(stderr, " (first: thread %u)\n", threads[0]);
  }
  Die();
}

}  // namespace simt
