#ifndef KVASIR_TOKENIZER_UTF8_H_
#define KVASIR_TOKENIZER_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/text_edits.h"

namespace kvasir {

struct CodePoint {
  char32_t value = 0;
  uint32_t bytes = 0;  // 1 to 4
};

// REQUIRES: a whole well-formed character starts at `p`.
inline CodePoint DecodeWellFormed(const char* p) {
  const auto* u = reinterpret_cast<const unsigned char*>(p);
  if (u[0] < 0x80) return {u[0], 1};
  if (u[0] < 0xE0) return {(u[0] & 0x1Fu) << 6 | (u[1] & 0x3Fu), 2};
  if (u[0] < 0xF0) return {(u[0] & 0x0Fu) << 12 | (u[1] & 0x3Fu) << 6 | (u[2] & 0x3Fu), 3};
  return {(u[0] & 0x07u) << 18 | (u[1] & 0x3Fu) << 12 | (u[2] & 0x3Fu) << 6 | (u[3] & 0x3Fu), 4};
}

// The character that ends at `end`. REQUIRES: `text` before `end` is well-formed, `end` > 0.
CodePoint DecodeLast(std::string_view text, size_t end);

// REQUIRES: `c` is a Unicode scalar value.
void AppendUtf8(char32_t c, std::string& out);

// Length of the longest prefix that is well-formed UTF-8.
size_t WellFormedPrefix(std::string_view bytes);

// Appends `bytes` with each maximal ill-formed subpart replaced by one U+FFFD, as the WHATWG
// decoder does. Where `edits` is given, appends what was replaced (offsets of `before` within
// `bytes`, of `after` within `out`).
void AppendRepaired(std::string_view bytes, std::string& out, std::vector<TextEdit>* edits);

// How many bytes at the end, 0 to 3, are the start of a character that more bytes may complete.
size_t UnfinishedTail(std::string_view bytes);

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_UTF8_H_
