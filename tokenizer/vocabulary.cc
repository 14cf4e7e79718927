#include "tokenizer/vocabulary.h"

#include <algorithm>

namespace kvasir {

Vocabulary::Vocabulary(std::span<const TokenEntry> tokens) {
  uint32_t size = 0;
  size_t bytes = 0;
  for (const TokenEntry& token : tokens) {
    size = std::max(size, token.id + 1);
    bytes += token.bytes.size();
  }
  spans_.resize(size);
  blob_.reserve(bytes);
  for (const TokenEntry& token : tokens) {
    spans_[token.id] = {static_cast<uint32_t>(blob_.size()),
                        static_cast<uint32_t>(token.bytes.size())};
    blob_.append(token.bytes);
  }
}

}  // namespace kvasir
