#ifndef KVASIR_TESTS_ENGINE_HEAP_BYTES_H_
#define KVASIR_TESTS_ENGINE_HEAP_BYTES_H_

#include <cstdint>

namespace kvasir::testing {

// What operator new has given and not got back, as the allocator counts it. Replaces the operators
// of the program that it is linked into.
int64_t HeapBytes();

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_HEAP_BYTES_H_
