#ifndef KVASIR_ENGINE_BACKEND_CUDA_MODEL_LIMITS_H_
#define KVASIR_ENGINE_BACKEND_CUDA_MODEL_LIMITS_H_

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/cuda/attention_plan.h"
#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/step_staging.h"
#include "engine/backend/plugin.h"

namespace kvasir::cuda {

// INVALID_ARGUMENT, naming config.json's field, value and limit, where the kernels do not compute
// the model.
absl::Status CheckModel(const GpuBackendOptions& options);

StepLimits LimitsOf(const GpuBackendOptions& options);
// REQUIRES: the device is the current one, its kernels have been loaded.
absl::StatusOr<AttentionGrid> GridOf(const AttentionShape& shape, const Device& device);
AttentionRoom RoomOf(const GpuBackendOptions& options, const AttentionGrid& grid);

// Bytes of each buffer on the device that the backend allocates when it is created.
std::vector<size_t> FixedBytes(const GpuBackendOptions& options, const AttentionGrid& grid);

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_MODEL_LIMITS_H_
