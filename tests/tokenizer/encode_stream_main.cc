// Encodes texts for differential.py. Standard input: texts, each after its length in bytes as a
// 32-bit number; standard output: the ids of each after their number, then, after its length, what
// the ids that the text has as plain text decode to. All numbers are little-endian.
#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: encode_stream DIRECTORY\n";
    return 1;
  }
  const auto tokenizer = kvasir::Tokenizer::Load(argv[1]);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return 1;
  }
  uint32_t size;
  std::string text;
  while (std::cin.read(reinterpret_cast<char*>(&size), sizeof(size))) {
    text.resize(size);
    if (!std::cin.read(text.data(), size)) return 1;
    const std::vector<uint32_t> ids = (*tokenizer)->Encode(text);
    const uint32_t count = static_cast<uint32_t>(ids.size());
    std::cout.write(reinterpret_cast<const char*>(&count), sizeof(count));
    std::cout.write(reinterpret_cast<const char*>(ids.data()),
                    static_cast<std::streamsize>(ids.size() * sizeof(uint32_t)));
    const auto back = (*tokenizer)->Decode((*tokenizer)->Encode(text, {.plain = true}), false);
    if (!back.ok()) return 1;
    size = static_cast<uint32_t>(back->size());
    std::cout.write(reinterpret_cast<const char*>(&size), sizeof(size));
    std::cout.write(back->data(), size);
  }
}
