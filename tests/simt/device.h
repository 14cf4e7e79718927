// The device that is pretended to be there, and each host thread's last error.
#ifndef KVASIR_TESTS_SIMT_DEVICE_H_
#define KVASIR_TESTS_SIMT_DEVICE_H_

#include <cstddef>

#include "tests/simt/include/cuda_runtime.h"
#include "tests/simt/include/simt.h"

namespace simt {

const Device& CurrentDevice();
// cudaSuccess, or why nothing can be done; also the last error then.
cudaError_t RequireDevice();
// Keeps an error for cudaGetLastError; returns it.
cudaError_t SetError(cudaError_t error);
// Whether a launch may have this shape.
cudaError_t CheckLaunch(const Launch& launch);

}  // namespace simt

#endif  // KVASIR_TESTS_SIMT_DEVICE_H_
