#include "tokenizer/byte_alphabet.h"

#include <array>
#include <cstddef>
#include <cstdint>

#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

constexpr bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char16_t, 256> kCharacters = [] {
  std::array<char16_t, 256> characters = {};
  char16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    characters[byte] = StandsForItself(byte) ? static_cast<char16_t>(byte) : next++;
  }
  return characters;
}();

constexpr int kEnd = 0x144;  // Past the last character of the alphabet.

constexpr std::array<int16_t, kEnd> kBytes = [] {
  std::array<int16_t, kEnd> bytes = {};
  for (int16_t& byte : bytes) byte = -1;
  for (int byte = 0; byte < 256; ++byte) bytes[kCharacters[byte]] = static_cast<int16_t>(byte);
  return bytes;
}();

}  // namespace

char32_t AlphabetCharacter(unsigned char byte) { return kCharacters[byte]; }

bool InAlphabet(std::string_view token) {
  for (size_t i = 0; i < token.size();) {
    const CodePoint code_point = DecodeWellFormed(token.data() + i);
    if (code_point.value >= kEnd || kBytes[code_point.value] < 0) return false;
    i += code_point.bytes;
  }
  return true;
}

void AppendTokenBytes(std::string_view token, std::string& out) {
  const size_t begin = out.size();
  for (size_t i = 0; i < token.size();) {
    const CodePoint code_point = DecodeWellFormed(token.data() + i);
    const int byte = code_point.value < kEnd ? kBytes[code_point.value] : -1;
    if (byte < 0) {
      out.resize(begin);
      out.append(token);
      return;
    }
    out += static_cast<char>(byte);
    i += code_point.bytes;
  }
}

}  // namespace kvasir
