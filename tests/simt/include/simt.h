// The emulator's own controls: a GPU whose threads are fibers of one host thread, so that kernels
// run, and are checked, on a CPU. For tests; kernels see it through the toolkit's names alone.
//
// Errors that a GPU would leave undefined (divergent barriers, wrong masks, accesses out of bounds)
// end the process with kErrorExit and a message that names block, thread and source line.
#ifndef KVASIR_TESTS_SIMT_INCLUDE_SIMT_H_
#define KVASIR_TESTS_SIMT_INCLUDE_SIMT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace simt {

inline constexpr int kErrorExit = 99;

// The order in which runnable threads, the blocks of a grid and the streams take their turns.
enum class Order {
  kInOrder,   // lowest first; work on a stream is done when it is enqueued
  kReversed,  // highest first; work on a stream is done when somebody waits for it
  kRandom,    // any thread, at any point where it may be interrupted
  kPriority,  // the warp of highest priority runs on; priorities change at random moments
              // (Burckhardt et al. 2010)
};
struct Schedule {
  Order order = Order::kInOrder;
  uint64_t seed = 0;
};
// REQUIRES: no work is queued. At first: SIMT_ORDER (in-order, reversed, random, priority) and
// SIMT_SEED of the environment.
void SetSchedule(const Schedule& schedule);

struct Device {
  enum class Presence { kPresent, kNoDevice, kNoDriver };
  Presence presence = Presence::kPresent;
  std::string name = "Emulated GPU";
  int major = 8;  // compute capability
  int minor = 0;
  int multiprocessors = 4;
  size_t memory = size_t{4} << 30;              // bytes
  size_t shared_per_block = size_t{163} << 10;  // bytes, by opting in
  size_t shared_per_multiprocessor = size_t{164} << 10;
  int threads_per_multiprocessor = 2048;
  int l2_cache = 4 << 20;      // bytes
  int driver_version = 13000;  // of the newest CUDA that it supports
};
// REQUIRES: nothing is allocated.
void SetDevice(const Device& device);

// Of the allocations to come, of device and of pinned memory, the one after `others` fails, as if
// there were none left, and those after it; negative: none does. By its C name tests find it in a
// library that they have opened.
extern "C" void simt_fail_allocation(int others);

// Bytes of device memory that kernels must not touch until Unpoison: free pages of a cache.
// Seen under AddressSanitizer alone.
void Poison(const void* begin, size_t bytes);
void Unpoison(const void* begin);

// Kernels that opted in to more dynamic shared memory than all have -> bytes. By name, template
// arguments included.
std::map<std::string, size_t> GrantedShared();

// How the kernels and this library were built.
enum class Mode { kPlain, kRace, kCount };
Mode BuildMode();

// What was found since the last call, one line each. Races that nobody took end the process with
// kErrorExit. Empty but for Mode::kRace.
std::vector<std::string> TakeRaces();

struct Statistics {
  uint64_t launches = 0;             // that have run, those of graphs among them
  uint64_t single_launches = 0;      // that the host enqueued one by one
  uint64_t graph_launches = 0;       // of whole graphs, enqueued
  uint64_t cold_graph_launches = 0;  // of those, not brought to the device before
  uint64_t allocations = 0;          // of device or pinned memory
  uint64_t blocks = 0;
  uint64_t threads = 0;
  uint64_t switches = 0;     // from thread to thread
  uint64_t collectives = 0;  // lanes that took part in a warp's
  size_t device_bytes = 0;   // allocated now
  size_t pinned_bytes = 0;   // allocated now
};
Statistics ReadStatistics();

}  // namespace simt

#endif  // KVASIR_TESTS_SIMT_INCLUDE_SIMT_H_
