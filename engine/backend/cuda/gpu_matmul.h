#ifndef KVASIR_ENGINE_BACKEND_CUDA_GPU_MATMUL_H_
#define KVASIR_ENGINE_BACKEND_CUDA_GPU_MATMUL_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <string>

#include "engine/backend/cuda/cublaslt_matmul.h"
#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels.h"

namespace kvasir::cuda {

// Which product runs where: a few rows by our own kernel, which streams the weights; more of them
// by cuBLASLt, which is the faster the more there are. Deterministic, or where the library is not
// there: all by our own kernel, whose bits do not depend on the number of rows.
class GpuMatmul {
 public:
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

  // Where there is no `api`, or it does not start, our own kernel multiplies everything.
  absl::Status Start(const CublasLtApi* api, DeviceMemory& memory);

  // Part of what a session's bits depend on: "own"; or "cublaslt-", its version and "-timed", where
  // they depend on algorithms that were timed at start-up, too.
  std::string numerics() const { return numerics_; }
  bool UsesOwnKernel(int rows) const { return library_ == nullptr || rows <= kOwnRows; }

  void Multiply(const MatmulArgs& args, cudaStream_t stream) {
    if (!MultiplyByLibrary(args, stream)) MultiplyByOwnKernel(args, stream);
  }
  // False: nothing has been enqueued, since it is not the library's, or the library refuses it:
  // then it is not asked for such a product again.  REQUIRES: args.gated is null.
  bool MultiplyByLibrary(const MatmulArgs& args, cudaStream_t stream);
  void MultiplyByOwnKernel(const MatmulArgs& args, cudaStream_t stream);

  // From StartTuning to EndTuning the library's algorithms are tried on every product of a new
  // kind, which waits. `evictor`: as CublasLtMatmul's.
  void StartTuning(void* evictor, size_t bytes);
  void EndTuning() { tuning_ = false; }

 private:
  // Rows of a tile of our kernel: so many stream the weights once.
  static constexpr int kOwnRows = 8;

  std::unique_ptr<Buffer> workspace_;
  std::unique_ptr<CublasLtMatmul> library_;
  std::string numerics_ = "own";
  bool tuning_ = false;
};

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_GPU_MATMUL_H_
