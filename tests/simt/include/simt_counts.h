// What kernels ask of memory and tensor cores, counted while they run (Mode::kCount).
//
// A warp's instruction is one place in the code, the n-th time that each lane passes it since the
// warp's lanes last met. Global memory is what cudaMalloc gave, shared memory a block's arrays;
// stacks, pinned memory and copies by the runtime are not counted. An atomic counts as a store.
#ifndef KVASIR_TESTS_SIMT_INCLUDE_SIMT_COUNTS_H_
#define KVASIR_TESTS_SIMT_INCLUDE_SIMT_COUNTS_H_

#include <cstdint>
#include <map>
#include <string>

namespace simt {

inline constexpr int kSectorBytes = 32;

struct KernelCounts {
  uint64_t launches = 0;
  // Global memory. Requested: the sectors of each warp instruction, what L2 must serve. Distinct:
  // the sectors of a launch, what must come from memory.
  uint64_t load_bytes = 0;
  uint64_t full_load_bytes = 0;  // of those: 16 bytes a lane, every sector used to the end
  // Where the others come from: source line -> bytes.
  std::map<std::string, uint64_t> narrow_load_lines;
  uint64_t load_sectors = 0;
  uint64_t distinct_load_sectors = 0;
  uint64_t store_bytes = 0;
  uint64_t store_sectors = 0;
  uint64_t distinct_store_sectors = 0;
  // Shared memory: 32 banks of 4 bytes. The conflict-free warp instruction takes one wavefront for
  // 4 bytes a lane, two for 8, four for 16; ldmatrix one a matrix.
  uint64_t shared_wavefronts = 0;
  uint64_t bank_conflicts = 0;  // of those: more than the conflict-free ones
  // Where conflicts come from: source line -> extra wavefronts.
  std::map<std::string, uint64_t> conflict_lines;
  uint64_t tensor_flops = 0;
};

// Kernel name, template arguments included -> what it did since the last call. Empty but for
// Mode::kCount. Waits for the device.
std::map<std::string, KernelCounts> TakeCounts();

}  // namespace simt

#endif  // KVASIR_TESTS_SIMT_INCLUDE_SIMT_COUNTS_H_
