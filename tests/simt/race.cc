// The build that looks for races: every access is held against the last ones of the same bytes.
// What orders two accesses: one thread, another launch, a barrier of the block, __syncwarp of the
// warp, and between blocks a fence, an atomic, and an atomic of the same word after it. Shuffles,
// votes and matrix products order nothing. What is found does not depend on the schedule's luck,
// but for paths that were not taken.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>

#include "tests/simt/include/simt.h"
#include "tests/simt/include/simt_counts.h"
#include "tests/simt/memory.h"
#include "tests/simt/observe.h"
#include "tests/simt/shared_memory.h"
#include "tests/simt/stream.h"
#include "tests/simt/symbols.h"

namespace simt {
namespace {

constexpr size_t kCellBytes = 2;  // the least that one thread writes beside another
constexpr size_t kMaxReports = 20;

struct Access {
  uint32_t launch;
  uint32_t thread;  // block * kMaxThreads + index
  uint32_t barriers : 20;
  uint32_t fences : 12;  // of the thread, before
  uint32_t clock;        // of the lane
};
enum Readers : uint8_t { kOne, kOneWarp, kManyWarps };
// The last accesses of kCellBytes.
struct Cell {
  Access write;
  Access read;
  int32_t write_code;  // relative to kAnchor
  int32_t read_code;
  uint32_t joins;  // of the warp, at the last read
  bool atomic;     // the write was
  Readers readers;
};

// What a thread knows of its warp's lanes (a vector clock), and of its fences.
struct Clock {
  uint32_t lanes[kLanes];
  uint32_t fences;
  uint32_t met_fences;  // those before the block last met
  uint32_t fence_barriers;
  uint32_t fence_lanes[kLanes];
};
// Everything that a thread's atomic made visible to whoever sees its value.
struct Release {
  uint32_t block;
  uint32_t warp;
  uint32_t barriers;
  uint32_t lanes[kLanes];
  std::vector<uint32_t> fences;  // by thread
};
using Releases = std::set<std::shared_ptr<const Release>>;

struct State {
  uint32_t launch = 0;
  uint32_t block = 0;
  Clock clocks[kMaxThreads];
  uint32_t joins[kMaxWarps];                           // times that all lanes of a warp met
  std::unordered_map<const void*, Releases> released;  // through which word
  Releases before;                                     // what the running block has seen
  Range device{};
  Cell* device_cells = nullptr;
  Range shared{};
  Cell* shared_cells = nullptr;
  std::set<std::pair<int32_t, int32_t>> reported;
  std::vector<std::string> races;
};
State& TheState() {
  static State& state = *new State;
  return state;
}
void Anchor() {}
int32_t CodeOffset(const void* pc) {
  return static_cast<int32_t>(static_cast<const char*>(pc) -
                              reinterpret_cast<const char*>(&Anchor));
}
const void* CodeAt(int32_t offset) { return reinterpret_cast<const char*>(&Anchor) + offset; }

Cell* NewCells(size_t bytes) {
  void* const cells = mmap(nullptr, bytes / kCellBytes * sizeof(Cell), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (cells == MAP_FAILED) {
    std::perror("addresses of the race detector");
    std::abort();
  }
  return static_cast<Cell*>(cells);
}

bool IsReleased(const State& state, const Access& a) {
  const uint32_t block = a.thread / kMaxThreads;
  const uint32_t index = a.thread % kMaxThreads;
  return std::any_of(state.before.begin(), state.before.end(), [&](const auto& release) {
    if (release->block != block) return false;
    return a.fences < release->fences[index] || a.barriers < release->barriers ||
           (a.barriers == release->barriers && index / kLanes == release->warp &&
            a.clock <= release->lanes[index % kLanes]);
  });
}

// Whether the access happened before whatever the thread does now.
bool IsOrdered(const State& state, const Access& a, const Access& now, bool shared) {
  if (a.launch != now.launch || a.thread == now.thread) return true;
  if (a.thread / kMaxThreads != state.block) return shared || IsReleased(state, a);
  if (a.barriers != now.barriers) return true;
  const uint32_t index = a.thread % kMaxThreads;
  const uint32_t self = now.thread % kMaxThreads;
  return index / kLanes == self / kLanes && state.clocks[self].lanes[index % kLanes] >= a.clock;
}

void Report(State& state, const char* kind, bool shared, const Access& now, const void* code,
            const Access& earlier, int32_t earlier_code) {
  if (state.races.size() >= kMaxReports) return;
  if (!state.reported.insert({CodeOffset(code), earlier_code}).second) return;
  static const bool at_exit = std::atexit([] {
                                if (TheState().races.empty()) return;
                                for (const std::string& race : TheState().races)
                                  std::fprintf(stderr, "%s\n", race.c_str());
                                std::fflush(stderr);
                                _exit(kErrorExit);
                              }) == 0;
  (void)at_exit;
  const auto who = [](const Access& a) {
    return "block " + std::to_string(a.thread / kMaxThreads) + " thread " +
           std::to_string(a.thread % kMaxThreads);
  };
  const auto lines = SourceLines({code, CodeAt(earlier_code)});
  state.races.push_back(std::string("SIMT RACE: ") + kind + (shared ? " shared" : " global") +
                        " memory: " + who(now) + " at " + lines[0] + ", earlier " + who(earlier) +
                        " at " + lines[1] + "; nothing orders them (" + ScheduleName() + ")");
}

// Several lanes have read; the cell names the last of them.
bool OthersReadToo(const State& state, const Cell& cell, const Access& now) {
  if (cell.readers == kOne || cell.read.launch != now.launch ||
      cell.read.thread / kMaxThreads != state.block || cell.read.barriers != now.barriers) {
    return false;
  }
  const uint32_t warp = cell.read.thread % kMaxThreads / kLanes;
  const bool same_warp = warp == now.thread % kMaxThreads / kLanes;
  return cell.readers == kManyWarps || !same_warp || cell.joins == state.joins[warp];
}

void Write(State& state, Cell& cell, const Access& now, bool atomic, bool shared,
           const void* code) {
  if (!(atomic && cell.atomic)) {
    if (!IsOrdered(state, cell.write, now, shared)) {
      Report(state, "write after write of", shared, now, code, cell.write, cell.write_code);
    }
    if (!IsOrdered(state, cell.read, now, shared) || OthersReadToo(state, cell, now)) {
      Report(state, "write after read of", shared, now, code, cell.read, cell.read_code);
    }
  }
  cell.write = now;
  cell.write_code = CodeOffset(code);
  cell.atomic = atomic;
  cell.readers = kOne;
}

void Read(State& state, Cell& cell, const Access& now, bool shared, const void* code) {
  if (!IsOrdered(state, cell.write, now, shared)) {
    Report(state, "read after write of", shared, now, code, cell.write, cell.write_code);
  }
  const uint32_t warp = now.thread % kMaxThreads / kLanes;
  const bool same_interval = cell.read.launch == now.launch &&
                             cell.read.thread / kMaxThreads == state.block &&
                             cell.read.barriers == now.barriers;
  const bool same_warp = cell.read.thread % kMaxThreads / kLanes == warp;
  const bool met_since = same_warp && cell.readers != kManyWarps && cell.joins != state.joins[warp];
  if (!same_interval || met_since) {
    cell.readers = kOne;
  } else if (cell.read.thread != now.thread) {
    cell.readers = same_warp && cell.readers != kManyWarps ? kOneWarp : kManyWarps;
  }
  cell.read = now;
  cell.read_code = CodeOffset(code);
  cell.joins = state.joins[warp];
}

// By the block's thread of that index.
void TouchAs(unsigned index, observe::Access access, const void* p, size_t bytes,
             const void* code) {
  State& state = TheState();
  const bool shared = state.shared.Contains(p);
  if (!shared && !state.device.Contains(p)) return;
  const Range& range = shared ? state.shared : state.device;
  Cell* const cells = shared ? state.shared_cells : state.device_cells;
  const size_t offset = static_cast<const char*>(p) - range.begin;
  const Clock& clock = state.clocks[index];
  const Access now{state.launch, state.block * kMaxThreads + index, TheBlock().barriers(),
                   clock.fences, clock.lanes[index % kLanes]};
  for (size_t i = offset / kCellBytes; i <= (offset + bytes - 1) / kCellBytes; ++i) {
    if (access == observe::Access::kRead) {
      Read(state, cells[i], now, shared, code);
    } else {
      Write(state, cells[i], now, access == observe::Access::kAtomic, shared, code);
    }
  }
}

// Makes visible what the thread's fences cover.
void ReleaseThrough(State& state, const void* word, const Thread& thread) {
  const Clock& clock = state.clocks[thread.index];
  auto release = std::make_shared<Release>();
  release->block = state.block;
  release->warp = thread.index / kLanes;
  release->barriers = clock.fence_barriers;
  std::memcpy(release->lanes, clock.fence_lanes, sizeof(release->lanes));
  for (unsigned i = 0; i < TheBlock().threads(); ++i) {
    release->fences.push_back(state.clocks[i].met_fences);
  }
  release->fences[thread.index] = clock.fences;
  Releases& releases = state.released[word];
  releases.insert(std::move(release));
  if (clock.fences != 0) releases.insert(state.before.begin(), state.before.end());
}

}  // namespace

Mode BuildMode() { return Mode::kRace; }
std::map<std::string, KernelCounts> TakeCounts() { return {}; }

std::vector<std::string> TakeRaces() {
  std::lock_guard lock(Lock());
  DrainAll();
  TheState().reported.clear();
  return std::exchange(TheState().races, {});
}

namespace observe {

void Touch(Access access, const void* p, size_t bytes, const void* pc) {
  State& state = TheState();
  if (access == Access::kAtomic && state.device.Contains(p)) {
    const Releases& seen = state.released[p];
    state.before.insert(seen.begin(), seen.end());
    TouchAs(t_thread->index, access, p, bytes, pc);
    ReleaseThrough(state, p, *t_thread);
    return;
  }
  TouchAs(t_thread->index, access, p, bytes, pc);
}

void BeginLaunch(const Launch&) {
  State& state = TheState();
  ++state.launch;
  state.released.clear();
  if (state.shared_cells == nullptr) {
    state.shared = SharedRange();
    state.shared_cells = NewCells(state.shared.bytes);
  }
  if (state.device_cells == nullptr && DeviceRange().begin != nullptr) {
    state.device = DeviceRange();
    state.device_cells = NewCells(state.device.bytes);
  }
}
void EndLaunch() {}

void BeginBlock(const Block& block) {
  State& state = TheState();
  state.block = block.index();
  state.before.clear();
  std::memset(state.joins, 0, sizeof(state.joins));
  std::memset(state.clocks, 0, block.threads() * sizeof(Clock));
  for (unsigned i = 0; i < block.threads(); ++i) state.clocks[i].lanes[i % kLanes] = 1;
}
void EndBlock(const Block&) {}

void BlockMet(const Block& block) {
  State& state = TheState();
  for (unsigned i = 0; i < block.threads(); ++i) {
    state.clocks[i].met_fences = state.clocks[i].fences;
  }
}

void LanesMet(const Warp& warp, unsigned lanes, bool orders_memory) {
  if (!orders_memory) return;
  State& state = TheState();
  Clock* const clocks = state.clocks + warp.index * kLanes;
  uint32_t latest[kLanes] = {};
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    const Clock& clock = clocks[__builtin_ctz(rest)];
    for (unsigned i = 0; i < kLanes; ++i) latest[i] = std::max(latest[i], clock.lanes[i]);
  }
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    const unsigned lane = __builtin_ctz(rest);
    std::memcpy(clocks[lane].lanes, latest, sizeof(latest));
    ++clocks[lane].lanes[lane];
  }
  if (lanes == warp.alive) ++state.joins[warp.index];
}

void Fence() {
  Clock& clock = TheState().clocks[t_thread->index];
  ++clock.fences;
  clock.fence_barriers = TheBlock().barriers();
  std::memcpy(clock.fence_lanes, clock.lanes, sizeof(clock.lanes));
  --clock.fence_lanes[t_thread->lane];  // its own accesses are told by their number of fences
}

void CopyIssued(const void* to, const void*, const void* pc) {
  TouchAs(t_thread->index, Access::kWrite, to, 16, pc);
}
void CopyLanded(const void* to, const void* from, const void* pc) {
  if (from != nullptr) TouchAs(t_thread->index, Access::kRead, from, 16, pc);
  TouchAs(t_thread->index, Access::kWrite, to, 16, pc);
}
void MatrixLoaded(const Warp& warp, const void* const (&rows)[8], unsigned first_lane,
                  const void* pc) {
  for (unsigned r = 0; r < 8; ++r) {
    TouchAs(warp.index * kLanes + first_lane + r, Access::kRead, rows[r], 16, pc);
  }
}
void Multiplied(double) {}

void Forget(const void* p, size_t bytes) {
  State& state = TheState();
  if (state.device_cells == nullptr) return;
  const size_t first = (static_cast<const char*>(p) - state.device.begin) / kCellBytes;
  madvise(state.device_cells + first, bytes / kCellBytes * sizeof(Cell), MADV_DONTNEED);
}

}  // namespace observe
}  // namespace simt
