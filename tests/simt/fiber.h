// Stacks to switch between, in one host thread at a time.
#ifndef KVASIR_TESTS_SIMT_FIBER_H_
#define KVASIR_TESTS_SIMT_FIBER_H_

#include <cstddef>

namespace simt {

struct Fiber {
  void* top = nullptr;    // of the stack, while another one runs
  char* stack = nullptr;  // lowest byte
  size_t stack_bytes = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's
};

// A stack that nothing runs on yet, a guard page below it. Never freed.
Fiber NewFiber();
// The stack that this host thread was started on, to switch from.
Fiber HostFiber();
// The next switch to the fiber calls `entry`, whatever ran on it before. `entry` calls Entered()
// first, and leaves by LeaveFor.
void Prepare(Fiber& fiber, void (*entry)());
void Entered();
// Goes on where `to` left; returns when somebody switches to `from`.
void SwitchFiber(Fiber& from, Fiber& to);
// The same, for a fiber that will not go on from here.
void LeaveFor(Fiber& from, Fiber& to);

}  // namespace simt

#endif  // KVASIR_TESTS_SIMT_FIBER_H_
