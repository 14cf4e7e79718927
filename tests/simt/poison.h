// Marks memory as not to be touched, where AddressSanitizer is there to see it.
#ifndef KVASIR_TESTS_SIMT_POISON_H_
#define KVASIR_TESTS_SIMT_POISON_H_

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace simt {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kCanPoison = true;
inline void PoisonMemory(const void* p, size_t bytes) { ASAN_POISON_MEMORY_REGION(p, bytes); }
inline void UnpoisonMemory(const void* p, size_t bytes) { ASAN_UNPOISON_MEMORY_REGION(p, bytes); }
#else
inline constexpr bool kCanPoison = false;
inline void PoisonMemory(const void*, size_t) {}
inline void UnpoisonMemory(const void*, size_t) {}
#endif

}  // namespace simt

#endif  // KVASIR_TESTS_SIMT_POISON_H_
