#ifndef KVASIR_TOKENIZER_UTF8_H_
#define KVASIR_TOKENIZER_UTF8_H_

#include <emmintrin.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/text_edits.h"

namespace kvasir {

struct CodePoint {
  char32_t value = 0;
  uint32_t bytes = 0;  // 1 to 4
};

// How many bytes a character has that starts with `lead`; 1 where none does.
inline constexpr std::array<uint8_t, 256> kCharacterBytes = [] {
  std::array<uint8_t, 256> bytes = {};
  for (int lead = 0; lead < 256; ++lead) {
    bytes[lead] = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  }
  return bytes;
}();
inline size_t CharacterBytes(char lead) {
  return kCharacterBytes[static_cast<unsigned char>(lead)];
}

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

// How many bytes at the start of `bytes` are ASCII.
inline size_t AsciiPrefix(std::string_view bytes) {
  size_t i = 0;
  for (; i + 16 <= bytes.size(); i += 16) {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes.data() + i));
    const auto beyond = static_cast<unsigned>(_mm_movemask_epi8(block));
    if (beyond != 0) return i + static_cast<size_t>(std::countr_zero(beyond));
  }
  while (i < bytes.size() && static_cast<unsigned char>(bytes[i]) < 0x80) ++i;
  return i;
}

// The bytes of the character at the start of `bytes`, or 0 where none is well-formed.
// REQUIRES: not empty.
size_t WellFormedRareCharacter(std::string_view bytes);
inline size_t WellFormedCharacter(std::string_view bytes) {
  const auto lead = static_cast<unsigned char>(bytes[0]);
  // Most of the leads of three bytes go with any two.
  if (lead > 0xE0 && lead < 0xF0 && lead != 0xED && bytes.size() >= 3) {
    uint16_t rest;
    std::memcpy(&rest, bytes.data() + 1, sizeof(rest));
    return (rest & 0xC0C0) == 0x8080 ? 3 : 0;
  }
  return WellFormedRareCharacter(bytes);
}

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
