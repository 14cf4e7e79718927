#include "engine/backend/cuda/gpu_matmul.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace kvasir::cuda {

absl::Status GpuMatmul::Start(const CublasLtApi* api, DeviceMemory& memory) {
  if (api == nullptr) return absl::OkStatus();
  const absl::Status allocated = memory.Allocate(kWorkspaceBytes, "cuBLASLt", workspace_);
  if (!allocated.ok()) return allocated;
  absl::StatusOr<std::unique_ptr<CublasLtMatmul>> library =
      CublasLtMatmul::Create(*api, workspace_->data(), kWorkspaceBytes);
  if (!library.ok()) return absl::OkStatus();
  library_ = *std::move(library);
  numerics_ = absl::StrCat("cublaslt-", api->version(), "-timed");
  return absl::OkStatus();
}

void GpuMatmul::StartTuning(void* evictor, size_t bytes) {
  library_->set_evictor(evictor, bytes);
  tuning_ = true;
}

bool GpuMatmul::MultiplyByLibrary(const MatmulArgs& args, cudaStream_t stream) {
  if (UsesOwnKernel(args.m)) return false;
  constexpr int kIterations = 5;
  if (tuning_) library_->Tune({&args, 1}, kIterations, stream);
  return library_->Run(args, stream).ok();
}

void GpuMatmul::MultiplyByOwnKernel(const MatmulArgs& args, cudaStream_t stream) {
  CheckCuda(Matmul(args, stream), "Matmul");
}

}  // namespace kvasir::cuda
