#ifndef KVASIR_ENGINE_BACKEND_CUDA_CUBLASLT_MATMUL_H_
#define KVASIR_ENGINE_BACKEND_CUDA_CUBLASLT_MATMUL_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/cuda/cublaslt_api.h"
#include "engine/backend/cuda/kernels.h"

namespace kvasir::cuda {

// Matrix products by cuBLASLt on one device. Which algorithm multiplies depends on M and on timing,
// so a row's bits do too: for use where invariant I1 is not promised. One thread uses an object at
// a time, with the device that it was made for as the current one.
// REQUIRES of all products: out or rounded; m > 0; x, w and the result 16-byte aligned.
class CublasLtMatmul {
 public:
  // `workspace`: device memory for the algorithms' own use, 256-byte aligned; it outlives the
  // object, and products on several streams must not run at once. The larger the workspace, the
  // more algorithms there are to choose from: 32 MiB is what the library asks for.
  static absl::StatusOr<std::unique_ptr<CublasLtMatmul>> Create(const CublasLtApi& api,
                                                                void* workspace,
                                                                size_t workspace_bytes);
  ~CublasLtMatmul();
  CublasLtMatmul(const CublasLtMatmul&) = delete;
  CublasLtMatmul& operator=(const CublasLtMatmul&) = delete;

  // Device memory that Tune fills with zeros before each run that it times, so that weights come
  // from memory, as they do in a step, and not from L2. Should be larger than that. Null: none.
  void set_evictor(void* memory, size_t bytes) {
    evictor_ = memory;
    evictor_bytes_ = bytes;
  }
  // Runs each product of a kind that has no algorithm yet with up to 8 of them, `iterations` times
  // each, and keeps the one with the least median for all products of its kind, or none where that
  // fails. Overwrites what `out` points to; waits.
  void Tune(std::span<const MatmulArgs> products, int iterations, cudaStream_t stream);

  // Enqueues the product, by the tuned algorithm or else by the library's own first choice.
  // Products are of one kind if they agree in N, K, the power of two next above M, and what becomes
  // of the result.
  // UNIMPLEMENTED, or what else the library said: the caller must do it. It is not asked again for
  // one of that kind, so that what multiplies does not change from step to step.
  absl::Status Run(const MatmulArgs& args, cudaStream_t stream);

 private:
  // M rounded up to a power of two, N, K, whether it is rounded, whether it is added.
  using Kind = std::tuple<int, int, int, bool, bool>;
  struct Description;  // the library's words for one product

  CublasLtMatmul(const CublasLtApi& api, void* workspace, size_t workspace_bytes);
  static Kind KindOf(const MatmulArgs& args);
  absl::Status Describe(const MatmulArgs& args, Description& description) const;
  // At most `wanted` algorithms that can be used for the kind of `args`, the most promising first.
  absl::StatusOr<std::vector<CublasLtAlgorithm>> Candidates(MatmulArgs args, int wanted) const;
  int Enqueue(const Description& description, const MatmulArgs& args,
              const CublasLtAlgorithm& algorithm, cudaStream_t stream) const;
  // The first of the candidates.
  absl::StatusOr<CublasLtAlgorithm> First(const MatmulArgs& args) const;
  // The fastest of those that work.
  absl::StatusOr<CublasLtAlgorithm> Fastest(const MatmulArgs& args, int iterations,
                                            cudaStream_t stream) const;
  absl::Status Check(int status, const char* function) const;

  const CublasLtApi api_;
  void* const workspace_;
  const size_t workspace_bytes_;
  void* evictor_ = nullptr;
  size_t evictor_bytes_ = 0;
  CublasLtHandle handle_ = nullptr;
  CublasLtPreference preference_ = nullptr;
  // Or why there is none.
  std::map<Kind, absl::StatusOr<CublasLtAlgorithm>> algorithms_;
};

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_CUBLASLT_MATMUL_H_
