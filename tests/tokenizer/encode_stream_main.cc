// Encodes texts for differential.py. Standard input: texts, each after its length in bytes as a
// 32-bit number; standard output: the ids of each after their number. All little-endian.
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
  }
}
