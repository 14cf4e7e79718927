#include "tests/simt/fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#error "The emulator switches stacks by hand, which is written for x86-64."
#endif

// The System V ABI's callee-saved registers lie on the stack of whoever does not run.
extern "C" void SimtSwitchStacks(void** save_top, void* top);
asm(R"(
.text
.globl SimtSwitchStacks
.hidden SimtSwitchStacks
.type SimtSwitchStacks,@function
SimtSwitchStacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size SimtSwitchStacks,.-SimtSwitchStacks
)");

namespace simt {
namespace {

constexpr size_t kPage = 4096;
constexpr int kSavedRegisters = 6;

#if defined(__SANITIZE_ADDRESS__)
// Where this host thread's stack is: slow to find out, for the first of them.
Fiber FindHostStack() {
  pthread_attr_t attributes;
  void* stack = nullptr;
  size_t bytes = 0;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &stack, &bytes);
  pthread_attr_destroy(&attributes);
  return {nullptr, static_cast<char*>(stack), bytes, nullptr};
}
constexpr size_t kStackBytes = 256 << 10;
constexpr size_t kEntryBytes = 8 << 10;
void Announce(void** fake_stack, const Fiber& to) {
  __sanitizer_start_switch_fiber(fake_stack, to.stack, to.stack_bytes);
}
void Arrived(void* fake_stack) { __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr); }
// What the frames that were left for good marked as theirs.
void Forget(const Fiber& fiber) {
  ASAN_UNPOISON_MEMORY_REGION(fiber.stack + fiber.stack_bytes - kEntryBytes, kEntryBytes);
}
#else
Fiber FindHostStack() { return {}; }  // nobody asks for its bounds
constexpr size_t kStackBytes = 64 << 10;
void Announce(void**, const Fiber&) {}
void Arrived(void*) {}
void Forget(const Fiber&) {}
#endif

}  // namespace

Fiber NewFiber() {
  void* const memory = mmap(nullptr, kStackBytes + kPage, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kPage, PROT_NONE) != 0) {
    std::perror("a fiber's stack");
    std::abort();
  }
  return {nullptr, static_cast<char*>(memory) + kPage, kStackBytes, nullptr};
}

Fiber HostFiber() {
  static thread_local const Fiber host = FindHostStack();
  return host;
}

void Prepare(Fiber& fiber, void (*entry)()) {
  Forget(fiber);
  auto* top = reinterpret_cast<uintptr_t*>(fiber.stack + fiber.stack_bytes) - 2;
  *--top = 0;  // the entry's return address: it has none, and this aligns its frame
  *--top = reinterpret_cast<uintptr_t>(entry);
  for (int i = 0; i < kSavedRegisters; ++i) *--top = 0;
  fiber.top = top;
}

void Entered() { Arrived(nullptr); }

void SwitchFiber(Fiber& from, Fiber& to) {
  Announce(&from.fake_stack, to);
  SimtSwitchStacks(&from.top, to.top);
  Arrived(from.fake_stack);
}

void LeaveFor(Fiber& from, Fiber& to) {
  Announce(nullptr, to);
  SimtSwitchStacks(&from.top, to.top);
}

}  // namespace simt
