#ifndef KVASIR_TOKENIZER_JINJA_LIMITS_H_
#define KVASIR_TOKENIZER_JINJA_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace kvasir::jinja {

// What a template may use, so that a hostile one (or hostile data) ends with RESOURCE_EXHAUSTED.

// Of the output, and of any one string.
inline constexpr size_t kMaxTextBytes = 16 << 20;
// Of a list that one operation makes out of a text or a number.
inline constexpr size_t kMaxListItems = 1 << 20;
// Each node of the tree that is evaluated is a step; so is each element, and each 64 bytes of
// text, that an operation reads or makes.
inline constexpr int64_t kMaxSteps = 10'000'000;
// Blocks within blocks, operators and brackets within each other, macros that call macros, and
// lists within lists.
inline constexpr int kMaxDepth = 64;

// Bodies and expressions within each other, over all macro calls: bounds the machine's stack.
inline constexpr int kMaxNesting = 8 * kMaxDepth;

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_LIMITS_H_
