#ifndef KVASIR_TOKENIZER_BPE_H_
#define KVASIR_TOKENIZER_BPE_H_

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace kvasir {

// Two tokens that may become one. Its place in the list of merges is its rank.
struct Merge {
  uint32_t left = 0;
  uint32_t right = 0;
  uint32_t result = 0;
};

// Byte-pair encoding of one piece of text (Sennrich et al. 2016, arXiv:1508.07909): from single
// bytes, the adjacent pair of lowest rank is merged, the leftmost of equals first, until none is
// left that may be.
class Bpe {
 public:
  static constexpr size_t kMaxMerges = (1u << 20) - 1;

  Bpe() = default;
  // `byte_ids[b]` is the token of the single byte b. A pair that comes twice in `merges` has its
  // last rank. REQUIRES: all ids are in `vocabulary`; at most kMaxMerges merges.
  Bpe(const Vocabulary& vocabulary, const std::array<uint32_t, 256>& byte_ids,
      std::span<const Merge> merges);

  // A symbol of a long piece while it is merged: a node of a doubly linked list.
  struct Symbol {
    uint32_t id = 0;
    uint32_t previous = 0;
    uint32_t next = 0;
  };
  // Room to work in, kept from piece to piece so that none of them allocates.
  struct Scratch {
    std::vector<Symbol> symbols;
    std::vector<uint64_t> heap;  // rank << 32 | position, smallest first
  };

  // Appends the ids of `piece`; O(n log n) in its length. REQUIRES: piece.size() < 2^32.
  void Encode(std::string_view piece, Scratch& scratch, std::vector<uint32_t>& ids) const;

 private:
  static constexpr uint32_t kNoRank = ~0u;
  static constexpr uint64_t kNoPair = ~uint64_t{0};
  static_assert(Vocabulary::kMaxId < 1u << 22, "a pair and its rank fit 64 bits");

  struct ShortSlot {
    uint64_t key = 0;  // Up to 7 bytes, and their number in the highest byte; 0: empty
    uint32_t id = 0;
  };
  struct LongSlot {
    uint32_t hash = 0;
    uint32_t id = kNoRank;  // kNoRank: empty
    uint32_t begin = 0;     // where in whole_bytes_
    uint32_t length = 0;
  };

  void AddPairs(std::span<const Merge> merges);
  void AddWholePieces(const Vocabulary& vocabulary);

  uint64_t FilterBitOf(uint64_t hash) const;
  uint32_t RankOf(uint32_t left, uint32_t right) const;
  // The token that `piece` becomes, where it becomes a single one that was tabled; else kNoRank.
  uint32_t FindWhole(std::string_view piece) const;
  void MergeShort(std::string_view piece, std::vector<uint32_t>& ids) const;
  void MergeLong(std::string_view piece, Scratch& scratch, std::vector<uint32_t>& ids) const;

  std::array<uint32_t, 256> byte_ids_ = {};
  std::vector<uint32_t> result_of_rank_;  // [merges]
  std::vector<uint32_t> byte_pair_rank_;  // [256 * 256], by first byte * 256 + second
  // Open addressing, a power of two of slots, at most half of them full. A slot of pairs_ is
  // left << 42 | right << 20 | rank, or kNoPair: the whole table is to stay in a core's cache.
  std::vector<uint64_t> pairs_;
  // One bit for each of many hashes: 0 where no pair has it, as for most that are asked for.
  std::vector<uint64_t> pair_filter_;
  std::vector<ShortSlot> short_pieces_;
  std::vector<LongSlot> long_pieces_;
  std::string whole_bytes_;
  size_t longest_whole_ = 0;
};

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_BPE_H_
