#ifndef KVASIR_TOKENIZER_TEXT_EDITS_H_
#define KVASIR_TOKENIZER_TEXT_EDITS_H_

#include <span>
#include <vector>

#include "tokenizer/byte_range.h"

namespace kvasir {

// A stretch of a text that was rewritten; all between two edits was copied.
struct TextEdit {
  ByteRange before;  // in the old text
  ByteRange after;   // in the new text
};

// Where `ranges` of the old text lie in the new one. A rewritten stretch belongs to a range only
// where all of it did; ranges left empty are dropped.
// REQUIRES: both ascending and disjoint.
std::vector<ByteRange> MapThroughEdits(std::span<const ByteRange> ranges,
                                       std::span<const TextEdit> edits);

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_TEXT_EDITS_H_
