#include "tests/simt/shared_memory.h"

#include <cstring>
#include <vector>

#include "tests/simt/device.h"
#include "tests/simt/include/simt_core.h"
#include "tests/simt/poison.h"

namespace simt {
namespace {

constexpr size_t kArenaBytes = 1 << 20;
constexpr size_t kAlignment = 128;
constexpr size_t kGuardBytes = 128;  // between arrays
constexpr size_t kStaticLimit = 48 << 10;

alignas(kAlignment) char g_arena[kArenaBytes];

struct Array {
  const void* key;  // null: the dynamic one
  char* data;
  size_t bytes;
};
struct State {
  std::vector<Array> arrays;
  size_t used = kGuardBytes;
  size_t static_bytes = 0;
  char* dynamic = nullptr;
  size_t dynamic_bytes = 0;
};
State& TheState() {
  static State& state = *new State;
  return state;
}

char* Carve(const void* key, size_t bytes) {
  State& state = TheState();
  char* const data = g_arena + state.used;
  state.used += (bytes + kGuardBytes + kAlignment - 1) / kAlignment * kAlignment;
  state.arrays.push_back({key, data, bytes});
  UnpoisonMemory(data, bytes);
  std::memset(data, 0xff, bytes);
  return data;
}

}  // namespace

void BeginSharedMemory(size_t dynamic_bytes) {
  State& state = TheState();
  PoisonMemory(g_arena, state.used);
  state.arrays.clear();
  state.used = kGuardBytes;
  state.static_bytes = 0;
  state.dynamic_bytes = dynamic_bytes;
  state.dynamic = dynamic_bytes != 0 ? Carve(nullptr, dynamic_bytes) : nullptr;
}

void EndSharedMemory() {
  State& state = TheState();
  for (const Array& array : state.arrays) PoisonMemory(array.data, array.bytes);
}

void RefillSharedMemory() {
  for (const Array& array : TheState().arrays) std::memset(array.data, 0xff, array.bytes);
}

Range SharedRange() { return {g_arena, kArenaBytes}; }

void* DynamicShared() { return TheState().dynamic; }

void* StaticShared(const void* key, size_t bytes, Location where) {
  State& state = TheState();
  for (const Array& array : state.arrays) {
    if (array.key == key) return array.data;
  }
  state.static_bytes += bytes;
  if (state.static_bytes > kStaticLimit) {
    Fail("static shared memory over 48 KiB", where, "%zu bytes", state.static_bytes);
  }
  if (state.static_bytes + state.dynamic_bytes > CurrentDevice().shared_per_block) {
    Fail("more shared memory than the device has for a block", where, "%zu bytes",
         state.static_bytes + state.dynamic_bytes);
  }
  return Carve(key, bytes);
}

}  // namespace simt
