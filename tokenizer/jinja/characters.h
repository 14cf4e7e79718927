#ifndef KVASIR_TOKENIZER_JINJA_CHARACTERS_H_
#define KVASIR_TOKENIZER_JINJA_CHARACTERS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kvasir::jinja {

// Python counts a string in characters, we keep it in UTF-8. An ill-formed byte counts as one
// character everywhere here.

// Bytes of the character that starts at `offset`. REQUIRES: offset < text.size().
size_t CharacterBytes(std::string_view text, size_t offset);

// The code point of a character of CharacterBytes() bytes; the byte itself where ill-formed.
uint32_t CodePoint(std::string_view character);

size_t CountCharacters(std::string_view text);

// The byte offset of character `index`; text.size() past the end.
size_t CharacterOffset(std::string_view text, size_t index);

// Appends `code_point` in UTF-8; U+FFFD in place of a surrogate or of what is too large.
void AppendCharacter(uint32_t code_point, std::string& text);

// What Python's str.isspace calls white space.
bool IsSpace(uint32_t code_point);

// What Python's str.isprintable calls so, and what is not assigned.
bool IsPrintable(uint32_t code_point);

// Only the 26 letters: the other scripts' cases are left alone.
std::string UpperAscii(std::string_view text);
std::string LowerAscii(std::string_view text);
bool IsAsciiLetter(char c);
bool IsAsciiDigit(char c);

// As find of std::string_view, in linear time.
size_t Find(std::string_view text, std::string_view needle, size_t from = 0);

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_CHARACTERS_H_
