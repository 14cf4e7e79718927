#ifndef KVASIR_TOKENIZER_MERGE_TABLE_H_
#define KVASIR_TOKENIZER_MERGE_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace kvasir {

// Two tokens that may become one. Its place in the list of merges is its rank.
struct Merge {
  uint32_t left = 0;
  uint32_t right = 0;
  uint32_t result = 0;
};

// Which pairs of tokens merge, how early, and into what.
class MergeTable {
 public:
  static constexpr int kRankBits = 20;
  static constexpr size_t kMaxMerges = (size_t{1} << kRankBits) - 1;
  static constexpr uint32_t kNoRank = kMaxMerges;               // Above all ranks.
  static constexpr uint32_t kNoToken = Vocabulary::kMaxId + 1;  // Merges with nothing.

  MergeTable() = default;
  // A pair that comes twice has its last rank. REQUIRES: at most kMaxMerges merges.
  explicit MergeTable(std::span<const Merge> merges);

  // The pair's rank; kNoRank: the two do not merge. REQUIRES: both at most kNoToken.
  uint32_t Rank(uint32_t left, uint32_t right) const {
    const uint64_t pair = PairOf(left, right);
    const uint64_t hash = HashOf(pair);
    if (!MayHave(hash)) return kNoRank;
    for (size_t slot = hash >> slot_shift_; slots_[slot] != kEmpty; ++slot) {
      if (slots_[slot] >> kRankBits == pair) return slots_[slot] & kNoRank;
    }
    return kNoRank;
  }
  // REQUIRES: the rank of a pair.
  uint32_t Result(uint32_t rank) const { return results_[rank]; }

 private:
  // A slot: the pair, then its rank.
  static constexpr int kIdBits = 22;
  static_assert(Vocabulary::kMaxId < kNoToken && kNoToken < (1u << kIdBits));
  static_assert(2 * kIdBits + kRankBits == 64);
  static constexpr uint64_t kEmpty = ~uint64_t{0};  // No pair's: its rank is kNoRank.

  static uint64_t PairOf(uint32_t left, uint32_t right) {
    return uint64_t{left} << kIdBits | right;
  }
  static uint64_t HashOf(uint64_t pair) { return pair * 0x9E3779B97F4A7C15u; }
  bool MayHave(uint64_t hash) const {
    const uint64_t bit = hash >> 24 & filter_mask_;
    return filter_[bit >> 6] >> (bit & 63) & 1;
  }

  // Open addressing, three in four full at most, and never to the end.
  std::vector<uint64_t> slots_;
  int slot_shift_ = 0;
  // One bit for each of many hashes: 0 where no pair has it, as for most that are asked for.
  std::vector<uint64_t> filter_;
  uint64_t filter_mask_ = 0;
  std::vector<uint32_t> results_;  // by rank
};

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_MERGE_TABLE_H_
