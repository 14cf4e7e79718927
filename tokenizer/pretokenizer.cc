#include "tokenizer/pretokenizer.h"

#include <array>
#include <cstddef>
#include <cstdint>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

constexpr uint8_t kClassMask = kLetter | kNumber | kWhiteSpace;
constexpr uint8_t kBeyondAscii = 0x80;

// Of each byte: the class of the ASCII character, or kBeyondAscii.
constexpr std::array<uint8_t, 256> kByteClass = [] {
  std::array<uint8_t, 256> classes = {};
  for (int c = 'a'; c <= 'z'; ++c) classes[c] = classes[c - 'a' + 'A'] = kLetter;
  for (int c = '0'; c <= '9'; ++c) classes[c] = kNumber;
  for (int c = '\t'; c <= '\r'; ++c) classes[c] = kWhiteSpace;
  classes[' '] = kWhiteSpace;
  for (int c = 0x80; c < 0x100; ++c) classes[c] = kBeyondAscii;
  return classes;
}();

struct Character {
  uint8_t character_class;  // kLetter, kNumber, kWhiteSpace or 0: anything else
  uint8_t bytes;
};

// REQUIRES: p < end.
inline Character At(const char* p) {
  const uint8_t byte_class = kByteClass[static_cast<unsigned char>(*p)];
  if (byte_class != kBeyondAscii) return {byte_class, 1};
  const CodePoint code_point = DecodeWellFormed(p);
  return {static_cast<uint8_t>(ClassesOf(code_point.value) & kClassMask),
          static_cast<uint8_t>(code_point.bytes)};
}

// The end of the run of characters of class `wanted` that starts at `p`.
template <uint8_t wanted>
inline const char* SkipRun(const char* p, const char* end) {
  while (true) {
    while (p != end && kByteClass[static_cast<unsigned char>(*p)] == wanted) ++p;
    if (p == end || static_cast<unsigned char>(*p) < 0x80) return p;
    const Character next = At(p);
    if (next.character_class != wanted) return p;
    p += next.bytes;
  }
}

inline bool IsNewline(char c) { return c == '\r' || c == '\n'; }

// (?i:'s|'t|'re|'ve|'m|'ll|'d) at `p`, which points at the apostrophe; nullptr: no match.
// Of the letters here only s has a fold outside ASCII: U+017F, the long s.
const char* SkipContraction(const char* p, const char* end) {
  const ptrdiff_t left = end - p;
  if (left < 2) return nullptr;
  const auto lower = [](char c) { return c | 0x20; };
  switch (lower(p[1])) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return p + 2;
    case 'r':
    case 'v':
      return left > 2 && lower(p[2]) == 'e' ? p + 3 : nullptr;
    case 'l':
      return left > 2 && lower(p[2]) == 'l' ? p + 3 : nullptr;
    default:
      return left > 2 && std::string_view(p + 1, 2) == "\u017F" ? p + 3 : nullptr;
  }
}

// [^\s\p{L}\p{N}]+[\r\n]* at `p`.
const char* SkipSymbols(const char* p, const char* end) {
  p = SkipRun<0>(p, end);
  while (p != end && IsNewline(*p)) ++p;
  return p;
}

// \s*[\r\n]+ | \s+(?!\S) | \s+ at `p`: up to the last line break of the run of white space;
// without one all of it at the end of the text, and all but its last character before more text,
// unless that is all there is.
const char* SkipWhiteSpace(const char* p, const char* end) {
  const char* const begin = p;
  const char* after_newline = nullptr;
  const char* last = p;
  while (p != end) {
    const Character next = At(p);
    if (next.character_class != kWhiteSpace) break;
    last = p;
    p += next.bytes;
    if (IsNewline(*last)) after_newline = p;
  }
  if (after_newline != nullptr) return after_newline;
  return p == end || last == begin ? p : last;
}

}  // namespace

std::string_view FirstPiece(std::string_view text) {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const auto piece = [&](const char* p) {
    return std::string_view(begin, static_cast<size_t>(p - begin));
  };
  const Character first = At(begin);
  const char* const second = begin + first.bytes;
  if (first.character_class == kLetter) return piece(SkipRun<kLetter>(second, end));
  if (first.character_class == kNumber) return piece(second);
  if (*begin == '\'') {
    if (const char* p = SkipContraction(begin, end)) return piece(p);
  }
  if (second != end && !IsNewline(*begin)) {
    const Character next = At(second);
    if (next.character_class == kLetter) return piece(SkipRun<kLetter>(second + next.bytes, end));
    if (*begin == ' ' && next.character_class == 0) return piece(SkipSymbols(second, end));
  }
  if (first.character_class == kWhiteSpace) return piece(SkipWhiteSpace(begin, end));
  return piece(SkipSymbols(second, end));
}

}  // namespace kvasir
