#include "engine/backend/cuda/gpu_matmul.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace kvasir::cuda {

GpuMatmul::GpuMatmul(const CublasLtApi* api, DeviceMemory& memory) {
  if (api == nullptr) return;
  workspace_ = memory.Allocate(kWorkspaceBytes);
  absl::StatusOr<std::unique_ptr<CublasLtMatmul>> library =
      CublasLtMatmul::Create(*api, workspace_->data(), kWorkspaceBytes);
  if (!library.ok()) return;  // our own kernel multiplies everything
  library_ = *std::move(library);
  numerics_ = absl::StrCat("cublaslt-", api->version(), "-timed");
}

void GpuMatmul::StartTuning(void* evictor, size_t bytes) {
  library_->set_evictor(evictor, bytes);
  tuning_ = true;
}

void GpuMatmul::Multiply(const MatmulArgs& args, cudaStream_t stream) {
  if (!UsesOwnKernel(args.m)) {
    constexpr int kIterations = 5;
    if (tuning_ && !library_->Tune({&args, 1}, kIterations, stream).ok()) return;
    if (library_->Run(args, stream).ok()) return;
  }
  CheckCuda(Matmul(args, stream), "Matmul");
}

}  // namespace kvasir::cuda
