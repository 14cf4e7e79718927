#ifndef KVASIR_ENGINE_BACKEND_CUDA_SILU_CUH_
#define KVASIR_ENGINE_BACKEND_CUDA_SILU_CUH_

#include "engine/backend/cuda/gpu.cuh"

namespace kvasir::cuda {

// silu(gate) * up. One function for all kernels, so that fused and unfused products agree in bits.
__device__ __forceinline__ float SiluMulOf(float gate, float up) {
  return gate / (1.0f + expf(-gate)) * up;
}

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_SILU_CUH_
