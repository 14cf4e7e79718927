// What we say of cuBLASLt's interface, against its own header. Compiled where that is at hand.
#include <cublasLt.h>

#include <cstddef>
#include <type_traits>

#include "engine/backend/cuda/cublaslt_api.h"

namespace kvasir::cuda {
namespace {

static_assert(kCublasSuccess == CUBLAS_STATUS_SUCCESS);
static_assert(kCublasNotSupported == CUBLAS_STATUS_NOT_SUPPORTED);
static_assert(kCublasComputeF32 == CUBLAS_COMPUTE_32F);
static_assert(kCudaF32 == CUDA_R_32F);
static_assert(kCudaBf16 == CUDA_R_16BF);
static_assert(kCublasTranspose == CUBLAS_OP_T);
static_assert(kCublasLtDescTransposeA == CUBLASLT_MATMUL_DESC_TRANSA);
static_assert(kCublasLtPreferenceWorkspaceBytes == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
static_assert(kCublasLtPreferenceAlignmentA == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
static_assert(kCublasLtPreferenceAlignmentB == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
static_assert(kCublasLtPreferenceAlignmentC == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
static_assert(kCublasLtPreferenceAlignmentD == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
static_assert(sizeof(CublasLtAlgorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(CublasLtHeuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(CublasLtHeuristic, workspace_bytes) ==
              offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(CublasLtHeuristic, state) ==
              offsetof(cublasLtMatmulHeuristicResult_t, state));

// Results and parameters of equal number, size and kind (pointer or number).
template <class Ours, class Theirs>
constexpr bool kSameKind =
    sizeof(Ours) == sizeof(Theirs) && std::is_pointer_v<Ours> == std::is_pointer_v<Theirs>;
template <class R, class... P, class S, class... Q>
constexpr bool SameInterface(R (*)(P...), S (*)(Q...)) {
  if constexpr (sizeof...(P) != sizeof...(Q)) {
    return false;
  } else {
    return kSameKind<R, S> && (kSameKind<P, Q> && ...);
  }
}
constexpr CublasLtApi kOurs = {};
static_assert(SameInterface(kOurs.version, &cublasLtGetVersion));
static_assert(SameInterface(kOurs.status_name, &cublasLtGetStatusName));
static_assert(SameInterface(kOurs.create, &cublasLtCreate));
static_assert(SameInterface(kOurs.destroy, &cublasLtDestroy));
static_assert(SameInterface(kOurs.desc_create, &cublasLtMatmulDescCreate));
static_assert(SameInterface(kOurs.desc_destroy, &cublasLtMatmulDescDestroy));
static_assert(SameInterface(kOurs.desc_set, &cublasLtMatmulDescSetAttribute));
static_assert(SameInterface(kOurs.layout_create, &cublasLtMatrixLayoutCreate));
static_assert(SameInterface(kOurs.layout_destroy, &cublasLtMatrixLayoutDestroy));
static_assert(SameInterface(kOurs.preference_create, &cublasLtMatmulPreferenceCreate));
static_assert(SameInterface(kOurs.preference_destroy, &cublasLtMatmulPreferenceDestroy));
static_assert(SameInterface(kOurs.preference_set, &cublasLtMatmulPreferenceSetAttribute));
static_assert(SameInterface(kOurs.heuristic, &cublasLtMatmulAlgoGetHeuristic));
static_assert(SameInterface(kOurs.matmul, &cublasLtMatmul));

}  // namespace
}  // namespace kvasir::cuda
