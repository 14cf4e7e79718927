// ThreadSanitizer's entry points: kernels are compiled with -fsanitize=thread, which puts a call
// before every load and store, and linked without its library, so that the calls come here.

#include <cstddef>
#include <cstdint>

#include "tests/simt/observe.h"

using simt::observe::Access;
using simt::observe::Touch;

#define SIMT_HOOK(name, access, bytes)                    \
  void __tsan_##name##bytes(void* p) {                    \
    if (simt::t_thread == nullptr) return;                \
    Touch(access, p, bytes, __builtin_return_address(0)); \
  }
#define SIMT_HOOKS(bytes)                         \
  SIMT_HOOK(read, Access::kRead, bytes)           \
  SIMT_HOOK(write, Access::kWrite, bytes)         \
  SIMT_HOOK(unaligned_read, Access::kRead, bytes) \
  SIMT_HOOK(unaligned_write, Access::kWrite, bytes)

extern "C" {

SIMT_HOOKS(1)
SIMT_HOOKS(2)
SIMT_HOOKS(4)
SIMT_HOOKS(8)
SIMT_HOOKS(16)
void __tsan_read_range(void* p, size_t bytes) {
  if (simt::t_thread == nullptr || bytes == 0) return;
  Touch(Access::kRead, p, bytes, __builtin_return_address(0));
}
void __tsan_write_range(void* p, size_t bytes) {
  if (simt::t_thread == nullptr || bytes == 0) return;
  Touch(Access::kWrite, p, bytes, __builtin_return_address(0));
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

// Atomics of host code in the same files: shared pointers, guards of static variables.
uint8_t __tsan_atomic8_load(const volatile uint8_t* p, int) {
  return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
int __tsan_atomic32_load(const volatile int* p, int) {
  return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
int __tsan_atomic32_fetch_add(volatile int* p, int v, int) {
  return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
}
int __tsan_atomic32_fetch_sub(volatile int* p, int v, int) {
  return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST);
}
long __tsan_atomic64_load(const volatile long* p, int) {
  return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

}  // extern "C"
