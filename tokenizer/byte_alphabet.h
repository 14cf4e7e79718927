#ifndef KVASIR_TOKENIZER_BYTE_ALPHABET_H_
#define KVASIR_TOKENIZER_BYTE_ALPHABET_H_

#include <string>
#include <string_view>

namespace kvasir {

// GPT-2's alphabet of 256 printable characters, one for each byte, in which tokenizer.json spells
// tokens: visible Latin-1 characters stand for themselves, the others for U+0100 and up.

// The character that stands for `byte`.
char32_t AlphabetCharacter(unsigned char byte);

// What a token stands for in a text: its characters' bytes, or the token as it is where one of
// them is not of the alphabet. REQUIRES: `token` is well-formed UTF-8.
std::string TokenBytes(std::string_view token);

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_BYTE_ALPHABET_H_
