#ifndef KVASIR_TOKENIZER_START_SYMBOLS_H_
#define KVASIR_TOKENIZER_START_SYMBOLS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/merge_table.h"
#include "tokenizer/vocabulary.h"

namespace kvasir {

// What merging starts from. By definition these are the tokens of single bytes; but much of what
// then happens can be known beforehand, from the ranks alone:
//
// - A character of several bytes may be taken as one token where all its own merges come before any
//   with a neighbour. A merge across its border takes a part of it, a symbol that its own merges
//   pass through. Where every such merge has a higher rank than all of the character's own, the
//   character is whole whatever stands around it. Where some have not, the neighbours that they
//   take are known, and the character is whole unless it stands beside one. Nor may the whole
//   character be part of a merge of a rank below its own, as in files that were not trained: it
//   would merge too early then.
// - Where no token holds two symbols side by side, no merge ever crosses the border between them: a
//   piece falls apart there, most often into parts so small that there is little to merge.
class StartSymbols {
 public:
  static constexpr size_t kMost = 64;  // of one call

  StartSymbols() = default;
  // `byte_ids[b]`: the token of the single byte b.
  StartSymbols(const Vocabulary& vocabulary, const std::array<uint32_t, 256>& byte_ids,
               const MergeTable& table, std::span<const Merge> merges);

  struct Extent {
    size_t symbols;
    size_t bytes;
  };
  // Writes the symbols of `text`, or, where there is not room for all, of its start. Returns how
  // many there are, and the bytes that they stand for. REQUIRES: `text` is cut from well-formed
  // UTF-8; room for text.size() symbols, or 8.
  Extent Read(std::string_view text, std::span<uint32_t> symbols) const;

  // Bit i: whether symbols i and i + 1 may come to be in one token. REQUIRES: at most kMost.
  uint64_t Joined(std::span<const uint32_t> symbols) const {
    uint64_t joined = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const uint64_t bit = NeighborBit(symbols[i], symbols[i + 1]);
      joined |= (neighbors_[bit >> 6] >> (bit & 63) & 1) << i;
    }
    return joined;
  }

 private:
  struct Builder;

  uint32_t ByteId(char byte) const { return byte_ids_[static_cast<unsigned char>(byte)]; }
  uint64_t NeighborBit(uint32_t left, uint32_t right) const {
    return ((uint64_t{left} << 32 | right) * 0x9E3779B97F4A7C15u) >> neighbor_shift_;
  }

  static constexpr char32_t kCharacters = 0x10000;  // Those beyond are left to their bytes.
  // An entry is a token's id and these. The first two are two bits above what they must not meet in
  // the next character.
  static constexpr uint32_t kTakesNext = 1u << 31;
  static constexpr uint32_t kNotBefore = 1u << 30;
  static constexpr uint32_t kNotAfter = 1u << 29;
  static constexpr uint32_t kTakesPrevious = 1u << 28;
  static constexpr uint32_t kWhole = 1u << 27;
  static constexpr uint32_t kIdMask = kWhole - 1;
  static_assert(Vocabulary::kMaxId <= kIdMask);

  std::array<uint32_t, 256> byte_ids_ = {};
  std::vector<uint32_t> entries_;  // [kCharacters]
  // One bit for each of many hashes of two symbols: it may be set where it need not, never the
  // other way round.
  std::vector<uint64_t> neighbors_;
  int neighbor_shift_ = 0;
};

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_START_SYMBOLS_H_
