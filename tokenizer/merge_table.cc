#include "tokenizer/merge_table.h"

#include <algorithm>
#include <bit>

namespace kvasir {

MergeTable::MergeTable(std::span<const Merge> merges) {
  const size_t size = std::bit_ceil(merges.size() + merges.size() / 3 + 2);
  // Slots go on behind the last that a hash names, as far as the merges could need.
  slots_.resize(size + merges.size() + 1, kEmpty);
  slot_shift_ = 64 - std::countr_zero(size);
  filter_.resize(std::max<size_t>(size / 8, 1));
  filter_mask_ = filter_.size() * 64 - 1;
  results_.reserve(merges.size());
  for (uint32_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& merge = merges[rank];
    const uint64_t pair = PairOf(merge.left, merge.right);
    const uint64_t hash = HashOf(pair);
    const uint64_t bit = hash >> 24 & filter_mask_;
    filter_[bit >> 6] |= uint64_t{1} << (bit & 63);
    size_t slot = hash >> slot_shift_;
    while (slots_[slot] != kEmpty && slots_[slot] >> kRankBits != pair) ++slot;
    slots_[slot] = pair << kRankBits | rank;
    results_.push_back(merge.result);
  }
}

}  // namespace kvasir
