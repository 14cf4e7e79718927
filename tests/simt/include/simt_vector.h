// CUDA's vector types and words of the language.
#ifndef KVASIR_TESTS_SIMT_INCLUDE_SIMT_VECTOR_H_
#define KVASIR_TESTS_SIMT_INCLUDE_SIMT_VECTOR_H_

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

#define SIMT_VECTOR_TYPES(T, E, align2, align4)                \
  struct T##1 {                                                \
    E x;                                                       \
  };                                                           \
  struct alignas(align2) T##2 {                                \
    E x, y;                                                    \
  };                                                           \
  struct T##3 {                                                \
    E x, y, z;                                                 \
  };                                                           \
  struct alignas(align4) T##4 {                                \
    E x, y, z, w;                                              \
  };                                                           \
  inline T##1 make_##T##1(E x) { return {x}; }                 \
  inline T##2 make_##T##2(E x, E y) { return {x, y}; }         \
  inline T##3 make_##T##3(E x, E y, E z) { return {x, y, z}; } \
  inline T##4 make_##T##4(E x, E y, E z, E w) { return {x, y, z, w}; }
SIMT_VECTOR_TYPES(char, signed char, 2, 4)
SIMT_VECTOR_TYPES(uchar, unsigned char, 2, 4)
SIMT_VECTOR_TYPES(short, short, 4, 8)
SIMT_VECTOR_TYPES(ushort, unsigned short, 4, 8)
SIMT_VECTOR_TYPES(int, int, 8, 16)
SIMT_VECTOR_TYPES(uint, unsigned, 8, 16)
SIMT_VECTOR_TYPES(float, float, 8, 16)
SIMT_VECTOR_TYPES(double, double, 16, 16)
SIMT_VECTOR_TYPES(longlong, long long, 16, 16)
SIMT_VECTOR_TYPES(ulonglong, unsigned long long, 16, 16)
#undef SIMT_VECTOR_TYPES

// NOLINTBEGIN(google-explicit-constructor): as CUDA has it.
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};
// NOLINTEND(google-explicit-constructor)

#endif  // KVASIR_TESTS_SIMT_INCLUDE_SIMT_VECTOR_H_
