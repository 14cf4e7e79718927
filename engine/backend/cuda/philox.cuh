#ifndef KVASIR_ENGINE_BACKEND_CUDA_PHILOX_CUH_
#define KVASIR_ENGINE_BACKEND_CUDA_PHILOX_CUH_

#include "engine/backend/cuda/gpu.cuh"

namespace kvasir::cuda {

// UniformAt of engine/sampler.h, the same bits: Philox4x32-10 (Salmon et al. 2011) with the seed as
// key and the position as counter, as a number in [0, 1).
__device__ inline double UniformAt(uint64_t seed, uint64_t position) {
  uint32_t c0 = static_cast<uint32_t>(position);
  uint32_t c1 = static_cast<uint32_t>(position >> 32);
  uint32_t c2 = 0;
  uint32_t c3 = 0;
  uint32_t k0 = static_cast<uint32_t>(seed);
  uint32_t k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * c0;
    const uint64_t b = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(b);
    c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(a);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  const uint64_t bits = (uint64_t{c1} << 32 | c0) >> 11;  // 53 of them
  return static_cast<double>(bits) * 0x1.0p-53;
}

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_PHILOX_CUH_
