#include "tests/simt/memory.h"

#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigaction
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "tests/simt/block.h"
#include "tests/simt/device.h"
#include "tests/simt/observe.h"
#include "tests/simt/poison.h"
#include "tests/simt/stream.h"

namespace simt {
namespace {

constexpr size_t kArenaBytes = size_t{1} << 38;  // of addresses, which are never given twice
constexpr size_t kPage = 4096;
constexpr size_t kAlignment = 256;
// Where the host must not touch large device memory is said of its first bytes alone.
constexpr size_t kClosedBytes = 1 << 20;

size_t RoundUp(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

// Begin of memory -> bytes.
using Allocations = std::map<const char*, size_t>;
struct State {
  char* arena = nullptr;
  size_t used = kPage;
  Allocations device;
  Allocations pinned;
  Allocations poisoned;
  size_t device_bytes = 0;
  int open = 0;      // DeviceAccess objects
  int to_fail = -1;  // allocations until the first that fails; negative: none will
};
State& TheState() {
  static State& state = *new State;
  return state;
}

// Whether the allocation that is asked for now is to fail.
bool Fails(State& state) {
  if (state.to_fail > 0)
    --state.to_fail;
  else if (state.to_fail == 0)
    return true;
  return false;
}

// The allocation that holds p, or whose end p is.
Allocations::const_iterator Find(const Allocations& allocations, const void* p) {
  auto after = allocations.upper_bound(static_cast<const char*>(p));
  if (after == allocations.begin()) return allocations.end();
  --after;
  return static_cast<const char*>(p) <= after->first + after->second ? after : allocations.end();
}

// A thread of the device that touched memory which is not there.
void OnFault(int signal, siginfo_t* info, void*) {
  if (t_thread == nullptr) {  // the host's own fault, which strikes again
    struct sigaction action = {};
    action.sa_handler = SIG_DFL;
    sigaction(signal, &action, nullptr);
    return;
  }
  const bool device = DeviceRange().Contains(info->si_addr);
  Fail("illegal memory access", Location::Current(), "%p, %s", info->si_addr,
       device ? "out of bounds, or freed" : "which is no device memory");
}

void InitializeOnce(State& state) {
  if (state.arena != nullptr) return;
  void* const arena =
      mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (arena == MAP_FAILED) {
    std::perror("addresses of device memory");
    std::abort();
  }
  state.arena = static_cast<char*>(arena);
  if (kCanPoison) return;  // which says more than a fault
  struct sigaction action = {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
}

// Pages whose bytes all have one value, to be mapped again and again: a file of them.
constexpr size_t kPatternBytes = size_t{16} << 20;
int PatternFile(int value) {
  static int files[256] = {};
  int& file = files[value & 0xff];
  if (file != 0) return file;
  file = memfd_create("simt pattern", 0);
  const std::vector<char> pattern(kPatternBytes, static_cast<char>(value));
  if (file < 0 || write(file, pattern.data(), pattern.size()) != ssize_t(pattern.size())) {
    std::perror("pages of device memory");
    std::abort();
  }
  return file;
}

// The pages of an allocation: its last byte, rounded up to the alignment, is the last of a page,
// and no page follows that one.
struct Pages {
  char* begin;
  size_t bytes;
};
Pages PagesOf(const char* data, size_t bytes) {
  const size_t slot = RoundUp(bytes, kAlignment);
  const size_t all = RoundUp(slot, kPage);
  return {const_cast<char*>(data) + slot - all, all};
}

char* Allocate(State& state, size_t bytes) {
  const size_t slot = RoundUp(bytes, kAlignment);
  const size_t all = RoundUp(slot, kPage);
  if (state.used + all + kPage > kArenaBytes) return nullptr;
  char* const begin = state.arena + state.used;
  state.used += all + kPage;
  if (mprotect(begin, all, PROT_READ | PROT_WRITE) != 0) return nullptr;
  char* const data = begin + all - slot;
  Fill(data, 0xff, slot);
  PoisonMemory(begin, data - begin);
  PoisonMemory(data + bytes, slot - bytes);
  return data;
}

// What lies between the last byte and the guard page must be as it was.
void CheckEnd(const char* data, size_t bytes) {
  if (kCanPoison) return;
  const char* const end = data + RoundUp(bytes, kAlignment);
  const char* const written =
      std::find_if(data + bytes, end, [](char c) { return c != static_cast<char>(0xff); });
  if (written == end) return;
  Fail("device memory was written past its end", Location::Current(), "%p: %zu bytes, byte %zu",
       data, bytes, static_cast<size_t>(written - data));
}

void Free(const char* data, size_t bytes) {
  const Pages pages = PagesOf(data, bytes);
  observe::Forget(pages.begin, pages.bytes);
  madvise(pages.begin, pages.bytes, MADV_DONTNEED);
  mprotect(pages.begin, pages.bytes, PROT_NONE);
  PoisonMemory(pages.begin, std::min(pages.bytes, kClosedBytes));  // none can be touched
}

}  // namespace

void Fill(char* begin, int value, size_t bytes) {
  constexpr size_t kLarge = size_t{64} << 20;
  if (bytes < kLarge) {
    std::memset(begin, value, bytes);
    return;
  }
  const auto address = reinterpret_cast<uintptr_t>(begin);
  const size_t before = RoundUp(address, kPage) - address;
  std::memset(begin, value, before);
  size_t left = bytes - before;
  for (char* to = begin + before; left >= kPage;) {
    const size_t some = std::min(left / kPage * kPage, kPatternBytes);
    if (mmap(to, some, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
             PatternFile(value), 0) == MAP_FAILED) {
      std::perror("pages of device memory");
      std::abort();
    }
    to += some;
    left -= some;
  }
  std::memset(begin + bytes - left, value, left);
}

namespace {

void Open(const State& state) {
  if (!kCanPoison) return;
  for (const auto& [data, bytes] : state.device) {
    UnpoisonMemory(data, std::min(bytes, kClosedBytes));
  }
  for (const auto& [data, bytes] : state.poisoned) PoisonMemory(data, bytes);
}
void Close(const State& state) {
  if (!kCanPoison) return;
  for (const auto& [data, bytes] : state.device) PoisonMemory(data, std::min(bytes, kClosedBytes));
}

}  // namespace

Place PlaceOf(const void* p) {
  const State& state = TheState();
  if (Find(state.device, p) != state.device.end()) return Place::kDevice;
  if (Find(state.pinned, p) != state.pinned.end()) return Place::kPinned;
  return Place::kPageable;
}

bool IsWithin(const void* p, size_t bytes) {
  const State& state = TheState();
  for (const Allocations* allocations : {&state.device, &state.pinned}) {
    const auto found = Find(*allocations, p);
    if (found == allocations->end()) continue;
    return static_cast<const char*>(p) + bytes <= found->first + found->second;
  }
  return true;
}

Range DeviceRange() { return {TheState().arena, kArenaBytes}; }

DeviceAccess::DeviceAccess() {
  if (TheState().open++ == 0) Open(TheState());
}
DeviceAccess::~DeviceAccess() {
  if (--TheState().open == 0) Close(TheState());
}

void CheckPointer(const void* pointer, int argument) {
  std::lock_guard lock(Lock());
  if (pointer == nullptr || PlaceOf(pointer) != Place::kPageable) return;
  Fail("kernel argument is a pointer to host memory", Location::Current(), "argument %d: %p",
       argument, pointer);
}

void Poison(const void* begin, size_t bytes) {
  std::lock_guard lock(Lock());
  TheState().poisoned[static_cast<const char*>(begin)] = bytes;
}
void Unpoison(const void* begin) {
  std::lock_guard lock(Lock());
  State& state = TheState();
  const auto found = state.poisoned.find(static_cast<const char*>(begin));
  if (found == state.poisoned.end()) return;
  const DeviceAccess access;
  UnpoisonMemory(found->first, found->second);
  state.poisoned.erase(found);
}

extern "C" void simt_fail_allocation(int others) {
  std::lock_guard lock(Lock());
  TheState().to_fail = others;
}

Statistics ReadStatistics() {
  std::lock_guard lock(Lock());
  Statistics statistics = TheStatistics();
  statistics.device_bytes = TheState().device_bytes;
  for (const auto& [data, bytes] : TheState().pinned) statistics.pinned_bytes += bytes;
  return statistics;
}

}  // namespace simt

using simt::Lock;
using simt::SetError;

cudaError_t cudaMalloc(void** data, size_t bytes) {
  if (const cudaError_t error = simt::RequireDevice(); error != cudaSuccess) return error;
  std::lock_guard lock(Lock());
  if (simt::AnyCapture()) return SetError(cudaErrorStreamCaptureUnsupported);
  *data = nullptr;
  if (bytes == 0) return cudaSuccess;
  simt::State& state = simt::TheState();
  simt::InitializeOnce(state);
  if (simt::Fails(state) || bytes > simt::CurrentDevice().memory - state.device_bytes) {
    return SetError(cudaErrorMemoryAllocation);
  }
  const simt::DeviceAccess access;
  char* const memory = simt::Allocate(state, bytes);
  if (memory == nullptr) return SetError(cudaErrorMemoryAllocation);
  state.device[memory] = bytes;
  state.device_bytes += bytes;
  ++simt::TheStatistics().allocations;
  *data = memory;
  return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  std::lock_guard lock(Lock());
  if (data == nullptr) return cudaSuccess;
  if (simt::AnyCapture()) return SetError(cudaErrorStreamCaptureUnsupported);
  simt::DrainAll();
  simt::State& state = simt::TheState();
  const auto found = state.device.find(static_cast<char*>(data));
  if (found == state.device.end()) return SetError(cudaErrorInvalidValue);
  const auto [memory, bytes] = *found;
  simt::CheckEnd(memory, bytes);
  state.device.erase(found);
  state.device_bytes -= bytes;
  simt::Free(memory, bytes);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** data, size_t bytes) {
  if (const cudaError_t error = simt::RequireDevice(); error != cudaSuccess) return error;
  std::lock_guard lock(Lock());
  if (simt::AnyCapture()) return SetError(cudaErrorStreamCaptureUnsupported);
  if (simt::Fails(simt::TheState()) ||
      posix_memalign(data, simt::kAlignment, std::max<size_t>(bytes, 1)) != 0) {
    return SetError(cudaErrorMemoryAllocation);
  }
  simt::TheState().pinned[static_cast<char*>(*data)] = bytes;
  ++simt::TheStatistics().allocations;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* data) {
  std::lock_guard lock(Lock());
  if (data == nullptr) return cudaSuccess;
  simt::DrainAll();
  if (simt::TheState().pinned.erase(static_cast<char*>(data)) == 0) {
    return SetError(cudaErrorInvalidValue);
  }
  std::free(data);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  if (const cudaError_t error = simt::RequireDevice(); error != cudaSuccess) return error;
  std::lock_guard lock(Lock());
  *total = simt::CurrentDevice().memory;
  *free = *total - simt::TheState().device_bytes;
  return cudaSuccess;
}
