#ifndef KVASIR_TOKENIZER_BYTE_ALPHABET_H_
#define KVASIR_TOKENIZER_BYTE_ALPHABET_H_

#include <string>
#include <string_view>

namespace kvasir {

// GPT-2's alphabet of 256 printable characters, one for each byte, in which tokenizer.json spells
// tokens: visible Latin-1 characters stand for themselves, the others for U+0100 and up.

// The character that stands for `byte`.
char32_t AlphabetCharacter(unsigned char byte);

// Whether every character of `token` is of the alphabet. REQUIRES: well-formed UTF-8.
bool InAlphabet(std::string_view token);

// Appends what a token stands for in a text: its characters' bytes, or the token as it is where one
// of them is not of the alphabet. REQUIRES: `token` is well-formed UTF-8.
void AppendTokenBytes(std::string_view token, std::string& out);

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_BYTE_ALPHABET_H_
