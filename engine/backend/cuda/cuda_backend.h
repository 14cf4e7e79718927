#ifndef KVASIR_ENGINE_BACKEND_CUDA_CUDA_BACKEND_H_
#define KVASIR_ENGINE_BACKEND_CUDA_CUDA_BACKEND_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/backend/plugin.h"

namespace kvasir::cuda {

// Statuses as Plugin::create says.
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const GpuBackendOptions& options);

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_CUDA_BACKEND_H_
