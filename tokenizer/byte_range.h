#ifndef KVASIR_TOKENIZER_BYTE_RANGE_H_
#define KVASIR_TOKENIZER_BYTE_RANGE_H_

#include <cstddef>

namespace kvasir {

// Bytes [begin, end) of a text.
struct ByteRange {
  size_t begin = 0;
  size_t end = 0;

  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_BYTE_RANGE_H_
