// Prints the kernels that ask for dynamic shared memory, and how many bytes, as the host code does
// when it loads them: what machine_code_test.py adds to the static one.
#include <simt.h>

#include <cstdio>

#include "engine/backend/cuda/kernels.h"

int main() {
  using namespace kvasir::cuda;  // NOLINT(google-build-using-namespace): all of this file's names
  if (FirstError(LoadRowwiseKernels(), LoadMatmulKernels(), LoadAttentionKernels(),
                 LoadSampleKernels()) != cudaSuccess) {
    return 1;
  }
  for (const auto& [kernel, bytes] : simt::GrantedShared()) {
    std::printf("%s\t%zu\n", kernel.c_str(), bytes);
  }
  return 0;
}
