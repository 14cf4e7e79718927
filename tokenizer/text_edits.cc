#include "tokenizer/text_edits.h"

#include <cstddef>

namespace kvasir {

std::vector<ByteRange> MapThroughEdits(std::span<const ByteRange> ranges,
                                       std::span<const TextEdit> edits) {
  std::vector<ByteRange> mapped;
  // Both ends ask in ascending order, so one pass over the edits answers all.
  size_t next = 0;      // The first edit that does not end before the position asked for.
  ptrdiff_t shift = 0;  // new - old, after the edits before `next`
  const auto skip_to = [&](size_t position) {
    while (next < edits.size() && edits[next].before.end <= position) {
      shift = static_cast<ptrdiff_t>(edits[next].after.end) -
              static_cast<ptrdiff_t>(edits[next].before.end);
      ++next;
    }
    return next < edits.size() && edits[next].before.begin < position;  // Within that edit.
  };
  for (const ByteRange& range : ranges) {
    ByteRange out;
    out.begin = skip_to(range.begin) ? edits[next].after.end : range.begin + shift;
    out.end = skip_to(range.end) ? edits[next].after.begin : range.end + shift;
    if (out.begin < out.end) mapped.push_back(out);
  }
  return mapped;
}

}  // namespace kvasir
