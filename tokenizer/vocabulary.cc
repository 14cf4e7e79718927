#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <cstring>

namespace kvasir {

Vocabulary::Vocabulary(std::span<const TokenEntry> tokens) {
  uint32_t size = 0;
  size_t bytes = 0;
  for (const TokenEntry& token : tokens) {
    size = std::max(size, token.id + 1);
    bytes += token.bytes.size();
  }
  spans_.resize(size);
  blob_.reserve(bytes + kCopied);
  for (const TokenEntry& token : tokens) {
    spans_[token.id] = {static_cast<uint32_t>(blob_.size()),
                        static_cast<uint32_t>(token.bytes.size())};
    blob_.append(token.bytes);
  }
  blob_.append(kCopied, '\0');
}

std::string Vocabulary::Join(std::span<const uint32_t> ids) const {
  size_t size = 0;
  for (const uint32_t id : ids) size += spans_[id].length;
  std::string out(size + kCopied, '\0');
  char* p = out.data();
  for (const uint32_t id : ids) {
    const Span span = spans_[id];
    const char* const from = blob_.data() + span.begin;
    // Of a size that the compiler knows: most tokens are short.
    std::memcpy(p, from, kCopied);
    if (span.length > kCopied) std::memcpy(p + kCopied, from + kCopied, span.length - kCopied);
    p += span.length;
  }
  out.resize(size);
  return out;
}

}  // namespace kvasir
