// A stand-in for cuBLASLt where the GPU is emulated: one plain kernel, and choices that show
// whether the caller chooses well.
#ifndef KVASIR_TESTS_ENGINE_BACKEND_CUDA_EMULATED_CUBLASLT_H_
#define KVASIR_TESTS_ENGINE_BACKEND_CUDA_EMULATED_CUBLASLT_H_

#include <cstdint>

#include "engine/backend/cuda/cublaslt_api.h"

namespace kvasir::cuda {

// The heuristic's answer, in this order. It has none where N is not a multiple of 4.
// A product whose like (M, N, K, algorithm) has not run before is refused while a stream records: a
// library may then have to load code.
enum class EmulatedAlgorithm : uint64_t {
  kSlow,     // does its work many times over
  kRefused,  // is refused when it is to run
  kGreedy,   // needs more workspace than there is; its state says so
  kFast,
};

// What was asked of the library. FLOPs and bytes are nominal: 2 M N K, and each matrix once.
struct EmulatedCublasLtCounts {
  int heuristics = 0;
  int products = 0;
  int recorded = 0;  // of those, into graphs
  EmulatedAlgorithm last_algorithm = EmulatedAlgorithm::kSlow;
  int64_t flops = 0;
  int64_t bytes = 0;
};

CublasLtApi EmulatedCublasLt();
// The same without kSlow and kGreedy, so that a whole engine can be tuned.
CublasLtApi QuickCublasLt();
// Of this process; assign {} to begin anew.
EmulatedCublasLtCounts& CublasLtCounts();

}  // namespace kvasir::cuda

#endif  // KVASIR_TESTS_ENGINE_BACKEND_CUDA_EMULATED_CUBLASLT_H_
