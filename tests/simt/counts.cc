// The build that counts what kernels ask of memory: accesses are gathered by instruction until a
// warp's lanes meet, then each group of them is one warp instruction.

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "tests/simt/banks.h"
#include "tests/simt/include/simt.h"
#include "tests/simt/include/simt_counts.h"
#include "tests/simt/memory.h"
#include "tests/simt/observe.h"
#include "tests/simt/shared_memory.h"
#include "tests/simt/stream.h"
#include "tests/simt/symbols.h"

namespace simt {
namespace {

constexpr unsigned kFullLoad = 16;  // bytes a lane
// Groups that a warp gathers at most; then it is taken that its lanes have met.
constexpr size_t kWindow = 1 << 16;

// A place in the code, and a part of what it touches where that is more than 16 bytes.
struct Key {
  const void* code;
  uint32_t part;
  bool write;
  bool operator==(const Key&) const = default;
};
struct KeyHash {
  size_t operator()(const Key& key) const {
    return reinterpret_cast<uintptr_t>(key.code) * 0x9e3779b97f4a7c15 + key.part * 2 + key.write;
  }
};

// An instruction's executions by one warp since its lanes met.
struct Executions {
  uint32_t by_lane[kLanes] = {};
  std::vector<uint32_t> groups;  // of the n-th execution
};
struct Group {
  uint32_t instruction;
  bool shared;
  WarpAccess access;
};
struct Window {
  std::vector<Executions> executions;  // by instruction
  std::vector<uint32_t> active;        // instructions that have some
  std::vector<Group> groups;
  size_t used = 0;
};

// A set of sectors of device memory.
class SectorSet {
 public:
  // Whether it was not there.
  bool Insert(uintptr_t sector) {
    uint64_t& word = words_[sector / 64];
    const uint64_t bit = uint64_t{1} << sector % 64;
    if ((word & bit) != 0) return false;
    word |= bit;
    const uintptr_t page = sector / kPageSectors;
    if (pages_.empty() || pages_.back() != page) pages_.push_back(page);
    return true;
  }
  void Clear() {
    for (const uintptr_t page : pages_) {
      std::memset(words_ + page * (kPageSectors / 64), 0, kPageSectors / 8);
    }
    pages_.clear();
  }
  void Reserve(size_t sectors) {
    void* const words = mmap(nullptr, sectors / 8, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (words == MAP_FAILED) {
      std::perror("addresses of the set of sectors");
      std::abort();
    }
    words_ = static_cast<uint64_t*>(words);
  }
  bool reserved() const { return words_ != nullptr; }

 private:
  static constexpr size_t kPageSectors = 4096;
  uint64_t* words_ = nullptr;
  std::vector<uintptr_t> pages_;  // that hold some
};

struct State {
  std::unordered_map<Key, uint32_t, KeyHash> instructions;
  std::vector<Key> keys;            // by instruction
  std::vector<uint64_t> conflicts;  // by instruction, in this launch
  std::vector<uint64_t> narrow;     // likewise: bytes that are no full loads
  Window windows[kMaxWarps];
  SectorSet loaded;
  SectorSet stored;
  Range device{};
  Range shared{};
  std::map<std::string, KernelCounts> counts;
  std::unordered_map<const void*, std::string> names;
  KernelCounts* launch = nullptr;  // the running one's
};
State& TheState() {
  static State& state = *new State;
  return state;
}

uint32_t InstructionOf(State& state, const Key& key) {
  const auto [found, first] = state.instructions.try_emplace(key, uint32_t(state.keys.size()));
  if (first) {
    state.keys.push_back(key);
    state.conflicts.push_back(0);
    state.narrow.push_back(0);
  }
  return found->second;
}

void CountGlobal(State& state, const WarpAccess& access, uint32_t instruction) {
  const bool write = state.keys[instruction].write;
  uintptr_t sectors[2 * kLanes];
  const unsigned count = ListSectors(access, sectors);
  const unsigned lanes = static_cast<unsigned>(std::popcount(access.lanes));
  const uint64_t bytes = uint64_t{lanes} * access.bytes;
  KernelCounts& counts = *state.launch;
  SectorSet& set = write ? state.stored : state.loaded;
  const uintptr_t first = reinterpret_cast<uintptr_t>(state.device.begin) / kSectorBytes;
  uint64_t distinct = 0;
  for (unsigned i = 0; i < count; ++i) distinct += set.Insert(sectors[i] - first);
  if (write) {
    counts.store_bytes += bytes;
    counts.store_sectors += count;
    counts.distinct_store_sectors += distinct;
    return;
  }
  counts.load_bytes += bytes;
  counts.load_sectors += count;
  counts.distinct_load_sectors += distinct;
  const bool used_whole = count <= (bytes + kSectorBytes - 1) / kSectorBytes;
  if (access.bytes == kFullLoad && used_whole) {
    counts.full_load_bytes += bytes;
  } else {
    state.narrow[instruction] += bytes;
  }
}

void CountShared(State& state, const WarpAccess& access, uint32_t instruction) {
  const Wavefronts wavefronts = CountWavefronts(access);
  state.launch->shared_wavefronts += wavefronts.needed;
  state.launch->bank_conflicts += wavefronts.needed - wavefronts.least;
  state.conflicts[instruction] += wavefronts.needed - wavefronts.least;
}

void Flush(State& state, Window& window) {
  for (size_t i = 0; i < window.used; ++i) {
    const Group& group = window.groups[i];
    if (group.shared) {
      CountShared(state, group.access, group.instruction);
    } else {
      CountGlobal(state, group.access, group.instruction);
    }
  }
  window.used = 0;
  for (const uint32_t instruction : window.active) {
    Executions& executions = window.executions[instruction];
    std::memset(executions.by_lane, 0, sizeof(executions.by_lane));
    executions.groups.clear();
  }
  window.active.clear();
}

// One lane's access of at most 16 bytes.
void Record(State& state, const void* p, unsigned bytes, bool shared, const Key& key) {
  const Thread& thread = *t_thread;
  Window& window = state.windows[thread.warp->index];
  const uint32_t instruction = InstructionOf(state, key);
  if (window.used == kWindow) Flush(state, window);
  if (window.executions.size() <= instruction) window.executions.resize(instruction + 1);
  Executions& executions = window.executions[instruction];
  const uint32_t execution = executions.by_lane[thread.lane]++;
  if (execution == executions.groups.size()) {
    if (execution == 0) window.active.push_back(instruction);
    executions.groups.push_back(static_cast<uint32_t>(window.used));
    if (window.used == window.groups.size()) window.groups.emplace_back();
    Group& fresh = window.groups[window.used++];
    fresh.instruction = instruction;
    fresh.shared = shared;
    fresh.access.lanes = 0;
    fresh.access.bytes = bytes;
  }
  Group& group = window.groups[executions.groups[execution]];
  group.access.lanes |= 1u << thread.lane;
  group.access.addresses[thread.lane] = reinterpret_cast<uintptr_t>(p);
}

// Larger accesses are made of the largest that their address allows.
void RecordAll(const void* p, size_t bytes, bool write, const void* code) {
  State& state = TheState();
  const bool shared = state.shared.Contains(p);
  if (!shared && !state.device.Contains(p)) return;
  if (bytes <= kFullLoad) {
    Record(state, p, static_cast<unsigned>(bytes), shared, {code, 0, write});
    return;
  }
  const auto* from = static_cast<const char*>(p);
  for (uint32_t part = 0; bytes != 0; ++part) {
    size_t step = kFullLoad;
    while (step > bytes || reinterpret_cast<uintptr_t>(from) % step != 0) step /= 2;
    Record(state, from, static_cast<unsigned>(step), shared, {code, part, write});
    from += step;
    bytes -= step;
  }
}

// Adds what was counted by instruction to what is counted by source line, and begins anew.
void KeepByLine(State& state, std::vector<uint64_t>& by_instruction,
                std::map<std::string, uint64_t>& by_line) {
  std::vector<const void*> codes;
  std::vector<uint64_t> counts;
  for (size_t i = 0; i < by_instruction.size(); ++i) {
    if (by_instruction[i] == 0) continue;
    codes.push_back(state.keys[i].code);
    counts.push_back(std::exchange(by_instruction[i], 0));
  }
  if (codes.empty()) return;
  static auto& lines = *new std::unordered_map<const void*, std::string>;
  std::vector<const void*> unknown;
  for (const void* const code : codes) {
    if (lines.find(code) == lines.end()) unknown.push_back(code);
  }
  const std::vector<std::string> answers = SourceLines(unknown);
  for (size_t i = 0; i < unknown.size(); ++i) lines[unknown[i]] = answers[i];
  for (size_t i = 0; i < codes.size(); ++i) by_line[lines[codes[i]]] += counts[i];
}

}  // namespace

Mode BuildMode() { return Mode::kCount; }
std::vector<std::string> TakeRaces() { return {}; }

std::map<std::string, KernelCounts> TakeCounts() {
  std::lock_guard lock(Lock());
  DrainAll();
  return std::exchange(TheState().counts, {});
}

namespace observe {

void Touch(Access access, const void* p, size_t bytes, const void* pc) {
  RecordAll(p, bytes, access != Access::kRead, pc);
}

void BeginLaunch(const Launch& launch) {
  State& state = TheState();
  state.shared = SharedRange();
  if (!state.loaded.reserved() && DeviceRange().begin != nullptr) {
    state.device = DeviceRange();
    state.loaded.Reserve(state.device.bytes / kSectorBytes);
    state.stored.Reserve(state.device.bytes / kSectorBytes);
  }
  std::string& name = state.names[launch.kernel];
  if (name.empty()) name = FunctionName(launch.kernel);
  state.launch = &state.counts[name];
  ++state.launch->launches;
}
void EndLaunch() {
  State& state = TheState();
  state.loaded.Clear();
  state.stored.Clear();
  KeepByLine(state, state.conflicts, state.launch->conflict_lines);
  KeepByLine(state, state.narrow, state.launch->narrow_load_lines);
}

void BeginBlock(const Block&) {}
void EndBlock(const Block&) {
  for (Window& window : TheState().windows) Flush(TheState(), window);
}
void BlockMet(const Block&) {
  for (Window& window : TheState().windows) Flush(TheState(), window);
}
void LanesMet(const Warp& warp, unsigned lanes, bool) {
  if (lanes == warp.alive) Flush(TheState(), TheState().windows[warp.index]);
}
void Fence() {}

void CopyIssued(const void* to, const void* from, const void* pc) {
  if (from != nullptr) RecordAll(from, 16, false, pc);
  RecordAll(to, 16, true, pc);
}
void CopyLanded(const void*, const void*, const void*) {}

void MatrixLoaded(const Warp&, const void* const (&rows)[8], unsigned, const void* pc) {
  State& state = TheState();
  WarpAccess access;
  access.bytes = 16;
  access.lanes = 0xff;  // a quarter of the warp, one phase
  for (unsigned r = 0; r < 8; ++r) access.addresses[r] = reinterpret_cast<uintptr_t>(rows[r]);
  CountShared(state, access, InstructionOf(state, {pc, 0, false}));
}
void Multiplied(double flops) { TheState().launch->tensor_flops += static_cast<uint64_t>(flops); }
void Forget(const void*, size_t) {}

}  // namespace observe
}  // namespace simt
