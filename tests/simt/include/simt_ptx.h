// The operations that engine/backend/cuda/gpu.cuh has in PTX; see there for what they do.
#ifndef KVASIR_TESTS_SIMT_INCLUDE_SIMT_PTX_H_
#define KVASIR_TESTS_SIMT_INCLUDE_SIMT_PTX_H_

#include <cstdint>
#include <cstring>

#include "tests/simt/include/cuda_runtime.h"

#define SIMT_SHARED(T, name, dims)                                                   \
  using simt_##name##_type = T dims;                                                 \
  static const char simt_##name##_key = 0;                                           \
  simt_##name##_type& name = *static_cast<simt_##name##_type*>(::simt::StaticShared( \
      &simt_##name##_key, sizeof(simt_##name##_type), ::simt::Location::Current()))
#define SIMT_DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(::simt::DynamicShared())

namespace kvasir::cuda {

__forceinline__ void CopyAsync16(void* to, const void* from, bool valid = true, SIMT_HERE) {
  ::simt::CopyAsync(to, from, valid, where);
}
inline void CopyAsyncCommit() { ::simt::CopyAsyncCommit(); }
template <int N>
void CopyAsyncWait() {
  ::simt::CopyAsyncWait(N);
}
inline void LoadMatrices(uint32_t (&r)[4], const void* row, SIMT_HERE) {
  ::simt::WarpSync(~0u, "ldmatrix", &row, r, ::simt::FinishLoadMatrices, 0, where);
}
inline void LoadMatricesTransposed(uint32_t (&r)[4], const void* row, SIMT_HERE) {
  ::simt::WarpSync(~0u, "ldmatrix.trans", &row, r, ::simt::FinishLoadMatrices, 1, where);
}
inline void MultiplyAccumulate(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                               SIMT_HERE) {
  ::simt::MultiplyIn in;
  std::memcpy(in.a, a, sizeof(a));
  std::memcpy(in.b, b, sizeof(b));
  std::memcpy(in.c, d, sizeof(d));
  ::simt::WarpSync(~0u, "mma.m16n8k16", &in, d, ::simt::FinishMultiply, 0, where);
}
inline uint4 LoadOnce16(const void* from) { return *static_cast<const uint4*>(from); }

}  // namespace kvasir::cuda

#endif  // KVASIR_TESTS_SIMT_INCLUDE_SIMT_PTX_H_
