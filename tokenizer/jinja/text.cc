#include "tokenizer/jinja/text.h"

#include <algorithm>

namespace kvasir::jinja {

void Text::Append(std::string_view bytes, bool trusted) {
  if (bytes.empty()) return;
  bytes_ += bytes;
  if (!runs_.empty() && runs_.back().trusted == trusted) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back({bytes_.size(), trusted});
  }
}

void Text::AppendSlice(const Text& other, size_t begin, size_t end) {
  if (begin == end) return;
  const std::string_view bytes = other.bytes_;
  for (size_t run = other.RunAt(begin); begin < end; ++run) {
    const size_t stop = std::min(end, other.runs_[run].end);
    Append(bytes.substr(begin, stop - begin), other.runs_[run].trusted);
    begin = stop;
  }
}

Text Text::Slice(size_t begin, size_t end) const {
  Text slice;
  slice.AppendSlice(*this, begin, end);
  slice.is_markup_ = is_markup_;
  return slice;
}

size_t Text::RunAt(size_t offset) const {
  return std::upper_bound(runs_.begin(), runs_.end(), offset,
                          [](size_t at, const Run& run) { return at < run.end; }) -
         runs_.begin();
}

}  // namespace kvasir::jinja
