#ifndef KVASIR_ENGINE_BACKEND_CUDA_CUDA_BACKEND_H_
#define KVASIR_ENGINE_BACKEND_CUDA_CUDA_BACKEND_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/backend/cuda/cublaslt_api.h"
#include "engine/backend/plugin.h"

namespace kvasir::cuda {

// Statuses as Plugin::create says. cuBLASLt multiplies where it is found, unless options say
// deterministic.
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const GpuBackendOptions& options);

// The same with this library, or with none.
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const GpuBackendOptions& options,
                                                           const CublasLtApi* library);

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_CUDA_BACKEND_H_
