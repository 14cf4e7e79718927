#include "tokenizer/pretokenizer.h"

#include <emmintrin.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

struct Character {
  uint8_t character_class;  // kLetter, kNumber, kWhiteSpace or 0: anything else
  uint8_t bytes;
};

// REQUIRES: p < end of the text.
inline Character At(const char* p) {
  uint8_t classes = LeadClasses(*p);
  if (classes & kMixed) classes = ClassesOf(DecodeWellFormed(p).value);
  return {static_cast<uint8_t>(classes & kSplitClasses), static_cast<uint8_t>(CharacterBytes(*p))};
}

// How many of the 16 bytes at `p`, from the first on, are ASCII letters.
inline int AsciiLetters(const char* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  // 'a' to 'z' become the 26 lowest of the signed numbers.
  const __m128i lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
  const __m128i shifted = _mm_sub_epi8(lower, _mm_set1_epi8(static_cast<char>('a' + 128)));
  const __m128i letters = _mm_cmplt_epi8(shifted, _mm_set1_epi8(-128 + 26));
  return std::countr_one(static_cast<uint32_t>(_mm_movemask_epi8(letters)));
}

// The end of the run of characters of class `wanted` that starts at `p`.
template <uint8_t wanted>
inline const char* SkipRun(const char* p, const char* end) {
  if constexpr (wanted == kLetter) {
    while (end - p >= 16) {
      const int letters = AsciiLetters(p);
      p += letters;
      if (letters < 16) break;
    }
  }
  while (p != end) {
    const Character next = At(p);
    if (next.character_class != wanted) break;
    p += next.bytes;
  }
  return p;
}

inline bool IsNewline(char c) { return c == '\r' || c == '\n'; }

// 's|'t|'re|'ve|'m|'ll|'d at `p`, which points at the apostrophe; nullptr: no match.
const char* SkipContraction(const char* p, const char* end) {
  const ptrdiff_t left = end - p;
  if (left < 2) return nullptr;
  switch (p[1]) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return p + 2;
    case 'r':
    case 'v':
      return left > 2 && p[2] == 'e' ? p + 3 : nullptr;
    case 'l':
      return left > 2 && p[2] == 'l' ? p + 3 : nullptr;
    default:
      return nullptr;
  }
}

// The same under (?i). Of the letters here only s has a fold outside ASCII: U+017F, the long s.
const char* SkipContractionOfAnyCase(const char* p, const char* end) {
  if (end - p > 2 && std::string_view(p + 1, 2) == "\u017F") return p + 3;
  char lower[3] = {*p, 0, 0};
  const ptrdiff_t size = std::min<ptrdiff_t>(end - p, 3);
  for (ptrdiff_t i = 1; i < size; ++i) lower[i] = static_cast<char>(p[i] | 0x20);
  const char* const after = SkipContraction(lower, lower + size);
  return after == nullptr ? nullptr : p + (after - lower);
}

// [^\s\p{L}\p{N}]+[\r\n]* at `p`.
const char* SkipSymbols(const char* p, const char* end) {
  p = SkipRun<0>(p, end);
  while (p != end && IsNewline(*p)) ++p;
  return p;
}

// \s+(?!\S) | \s+ at `p`: all of the run of white space at the end of the text, and all but its
// last character before more text, unless that is all there is. With `newlines`, \s*[\r\n]+ comes
// first: up to the last line break of the run.
const char* SkipWhiteSpace(const char* p, const char* end, bool newlines) {
  const char* const begin = p;
  const char* after_newline = nullptr;
  const char* last = p;
  while (p != end) {
    if (*p == ' ') {
      last = p++;
      continue;
    }
    const Character next = At(p);
    if (next.character_class != kWhiteSpace) break;
    last = p;
    p += next.bytes;
    if (IsNewline(*last)) after_newline = p;
  }
  if (newlines && after_newline != nullptr) return after_newline;
  return p == end || last == begin ? p : last;
}

// Of an ASCII character: kLetter, kMayLead where it may stand before a word's letters (but for the
// apostrophe, which may start a contraction), else 0.
constexpr uint8_t kMayLead = 128;
constexpr std::array<uint8_t, 256> kWordStart = [] {
  std::array<uint8_t, 256> start = {};
  for (int c = 0; c < 0x80; ++c) start[c] = kMayLead;
  for (int c = 'a'; c <= 'z'; ++c) start[c] = start[c - 'a' + 'A'] = kLetter;
  for (int c = '0'; c <= '9'; ++c) start[c] = 0;
  for (const unsigned char c : {'\r', '\n', '\''}) start[c] = 0;
  return start;
}();

// The end of the piece that starts at `begin`, in the order of the alternatives.

template <int digits>
inline const char* TiktokenPieceEnd(const char* begin, const char* end) {
  // Most pieces: ASCII letters, or one of those after a character that may lead them.
  if (end - begin > 16) {
    const int letters = AsciiLetters(begin + 1);
    const char* const after = begin + 1 + letters;
    if (letters < 16 && static_cast<unsigned char>(*after) < 0x80) {
      const uint8_t start = kWordStart[static_cast<unsigned char>(*begin)];
      if (start == kLetter || (start == kMayLead && letters > 0)) return after;
    }
  }
  const Character first = At(begin);
  const char* second = begin + first.bytes;
  if (first.character_class == kLetter) return SkipRun<kLetter>(second, end);
  if (first.character_class == kNumber) {
    for (int count = 1; count < digits && second != end; ++count) {
      const Character next = At(second);
      if (next.character_class != kNumber) break;
      second += next.bytes;
    }
    return second;
  }
  if (*begin == '\'') {
    if (const char* p = SkipContractionOfAnyCase(begin, end)) return p;
  }
  if (second != end && !IsNewline(*begin)) {
    const Character next = At(second);
    if (next.character_class == kLetter) return SkipRun<kLetter>(second + next.bytes, end);
    if (*begin == ' ' && next.character_class == 0) return SkipSymbols(second, end);
  }
  if (first.character_class == kWhiteSpace) return SkipWhiteSpace(begin, end, true);
  return SkipSymbols(second, end);
}

inline const char* Gpt2PieceEnd(const char* begin, const char* end) {
  if (*begin == '\'') {
    if (const char* p = SkipContraction(begin, end)) return p;
  }
  const char* p = begin;
  if (*p == ' ' && end - p > 1 && At(p + 1).character_class != kWhiteSpace) ++p;
  switch (At(p).character_class) {
    case kLetter:
      return SkipRun<kLetter>(p, end);
    case kNumber:
      return SkipRun<kNumber>(p, end);
    case 0:
      return SkipRun<0>(p, end);
    default:
      return SkipWhiteSpace(begin, end, false);
  }
}

template <const char* PieceEnd(const char*, const char*)>
size_t Cut(const char*& next, const char* end, std::span<std::string_view> pieces) {
  const char* p = next;
  size_t count = 0;
  while (p != end && count < pieces.size()) {
    const char* const after = PieceEnd(p, end);
    pieces[count++] = {p, static_cast<size_t>(after - p)};
    p = after;
  }
  next = p;
  return count;
}

}  // namespace

std::string_view ExpressionOf(SplitRule rule) {
  switch (rule) {
    case SplitRule::kQwen2:
      return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
             R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
    case SplitRule::kLlama3:
      return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
             R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    case SplitRule::kGpt2:
      break;
  }
  return R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
}

size_t Splitter::Next(std::span<std::string_view> pieces) {
  switch (rule_) {
    case SplitRule::kQwen2:
      return Cut<TiktokenPieceEnd<1>>(next_, end_, pieces);
    case SplitRule::kLlama3:
      return Cut<TiktokenPieceEnd<3>>(next_, end_, pieces);
    case SplitRule::kGpt2:
      break;
  }
  return Cut<Gpt2PieceEnd>(next_, end_, pieces);
}

}  // namespace kvasir
