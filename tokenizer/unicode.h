#ifndef KVASIR_TOKENIZER_UNICODE_H_
#define KVASIR_TOKENIZER_UNICODE_H_

#include <cstdint>

#include "tokenizer/unicode_tables.h"

namespace kvasir {

// Classes of a character, as the reference's regex engines see them: letters, numbers and white
// space of Unicode 16 (\p{L}, \p{N}, \s), and \w.
enum CharacterClass : uint8_t {
  kLetter = 1,
  kNumber = 2,
  kWhiteSpace = 4,
  kWordCharacter = 8,
  kNfcActive = 16,  // Not a starter that NFC (Unicode 9) leaves alone wherever it stands.
  kMixed = 32,      // Of LeadClasses only.
};
constexpr uint8_t kSplitClasses = kLetter | kNumber | kWhiteSpace;

// The classes of `c`, ORed. REQUIRES: c < 0x110000.
inline uint8_t ClassesOf(char32_t c) {
  return unicode_tables::kClassData[unicode_tables::kClassIndex[c >> 8] << 8 | (c & 0xFF)];
}

// Of all characters whose UTF-8 starts with `lead`: the one of kSplitClasses (or none) that they
// share, or kMixed; with kNfcActive where one of them is. Most of a text needs no more than this.
inline uint8_t LeadClasses(char lead) {
  return unicode_tables::kLeadClasses[static_cast<unsigned char>(lead)];
}

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_UNICODE_H_
