// cuBLASLt as far as we use it. The library is looked for at run time and its header is not needed
// to build, so the part of its public interface that versions 12 and 13 share is declared here.
#ifndef KVASIR_ENGINE_BACKEND_CUDA_CUBLASLT_API_H_
#define KVASIR_ENGINE_BACKEND_CUDA_CUBLASLT_API_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"

namespace kvasir::cuda {

// cublasStatus_t
inline constexpr int kCublasSuccess = 0;
inline constexpr int kCublasNotSupported = 15;
// cublasComputeType_t, cudaDataType_t, cublasOperation_t
inline constexpr int kCublasComputeF32 = 68;
inline constexpr int kCudaF32 = 0;
inline constexpr int kCudaBf16 = 14;
inline constexpr int kCublasTranspose = 1;
// cublasLtMatmulDescAttributes_t; cublasOperation_t, of 4 bytes
inline constexpr int kCublasLtDescTransposeA = 3;
// cublasLtMatmulPreferenceAttributes_t; uint64_t the first, uint32_t the others
inline constexpr int kCublasLtPreferenceWorkspaceBytes = 1;
inline constexpr int kCublasLtPreferenceAlignmentA = 5;
inline constexpr int kCublasLtPreferenceAlignmentB = 6;
inline constexpr int kCublasLtPreferenceAlignmentC = 7;
inline constexpr int kCublasLtPreferenceAlignmentD = 8;

using CublasLtHandle = void*;
using CublasLtMatmulDesc = void*;
using CublasLtLayout = void*;
using CublasLtPreference = void*;

// cublasLtMatmulAlgo_t
struct CublasLtAlgorithm {
  uint64_t data[8];
};
// cublasLtMatmulHeuristicResult_t
struct CublasLtHeuristic {
  CublasLtAlgorithm algorithm;
  size_t workspace_bytes;
  int state;  // kCublasSuccess where the algorithm can be used
  float waves;
  int reserved[4];
};

// The library's functions; their results are statuses.
struct CublasLtApi {
  size_t (*version)();
  const char* (*status_name)(int status);
  int (*create)(CublasLtHandle* handle);
  int (*destroy)(CublasLtHandle handle);
  int (*desc_create)(CublasLtMatmulDesc* desc, int compute_type, int scale_type);
  int (*desc_destroy)(CublasLtMatmulDesc desc);
  int (*desc_set)(CublasLtMatmulDesc desc, int attribute, const void* value, size_t bytes);
  int (*layout_create)(CublasLtLayout* layout, int type, uint64_t rows, uint64_t cols,
                       int64_t leading_dimension);
  int (*layout_destroy)(CublasLtLayout layout);
  int (*preference_create)(CublasLtPreference* preference);
  int (*preference_destroy)(CublasLtPreference preference);
  int (*preference_set)(CublasLtPreference preference, int attribute, const void* value,
                        size_t bytes);
  int (*heuristic)(CublasLtHandle handle, CublasLtMatmulDesc desc, CublasLtLayout a,
                   CublasLtLayout b, CublasLtLayout c, CublasLtLayout d,
                   CublasLtPreference preference, int wanted, CublasLtHeuristic* results,
                   int* count);
  // d = alpha op(a) op(b) + beta c, all column-major; alpha and beta: host memory
  int (*matmul)(CublasLtHandle handle, CublasLtMatmulDesc desc, const void* alpha, const void* a,
                CublasLtLayout a_layout, const void* b, CublasLtLayout b_layout, const void* beta,
                const void* c, CublasLtLayout c_layout, void* d, CublasLtLayout d_layout,
                const CublasLtAlgorithm* algorithm, void* workspace, size_t workspace_bytes,
                cudaStream_t stream);
};

// The newest version that the dynamic linker finds; it stays loaded. NOT_FOUND where there is none.
absl::StatusOr<CublasLtApi> LoadCublasLt();
// The same, from the first of `libraries` that can be opened.
absl::StatusOr<CublasLtApi> LoadCublasLt(std::span<const char* const> libraries);

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_CUBLASLT_API_H_
