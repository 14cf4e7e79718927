#ifndef KVASIR_TOKENIZER_BPE_H_
#define KVASIR_TOKENIZER_BPE_H_

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/merge_table.h"
#include "tokenizer/start_symbols.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/whole_pieces.h"

namespace kvasir {

// Byte-pair encoding of pieces of text (Sennrich et al. 2016, arXiv:1508.07909): from single bytes,
// the adjacent pair of lowest rank is merged, the leftmost of equals first, until none is left that
// may be.
class Bpe {
 public:
  Bpe() = default;
  // `byte_ids[b]` is the token of the single byte b. Where `whole` is given, pieces that are one of
  // these tokens, no two of which have the same bytes, become that token whatever merges say.
  // REQUIRES: all ids are in `vocabulary`, which outlives this; merges as MergeTable.
  Bpe(const Vocabulary& vocabulary, const std::array<uint32_t, 256>& byte_ids,
      std::span<const Merge> merges, const std::vector<uint32_t>* whole = nullptr);

  // A symbol of a long piece while it is merged: a node of a doubly linked list.
  struct Node {
    uint32_t id = 0;
    uint32_t previous = 0;
    uint32_t next = 0;
  };
  // Room to work in, kept from piece to piece so that none of them allocates.
  struct Scratch {
    std::vector<uint32_t> symbols;
    std::vector<Node> nodes;
    std::vector<uint64_t> heap;  // rank << 32 | position, smallest first
    std::vector<uint32_t> window;
    std::vector<uint32_t> seam;
  };

  static constexpr size_t kMaxPieces = 64;  // of one call

  // Appends the ids of each piece; near-linear in their length.
  // REQUIRES: at most kMaxPieces, none empty, each cut from well-formed UTF-8; bytes from each up
  // to `readable` may be read.
  void Encode(std::span<const std::string_view> pieces, const char* readable, Scratch& scratch,
              std::vector<uint32_t>& ids) const;

 private:
  // Above this many symbols they are merged by a heap, below by scanning all ranks for the least.
  static constexpr size_t kMostFew = StartSymbols::kMost - 1;
  using FewSymbols = std::array<uint32_t, kMostFew>;

  void MergePiece(std::string_view piece, Scratch& scratch, std::vector<uint32_t>& ids) const;
  void MergeWindows(std::string_view piece, size_t window, Scratch& scratch,
                    std::vector<uint32_t>& ids) const;
  void MergeAtOnce(std::string_view text, Scratch& scratch, std::vector<uint32_t>& ids) const;
  void MergeParts(std::span<const uint32_t> symbols, std::vector<uint32_t>& ids) const;
  void MergePart(std::span<const uint32_t> part, std::vector<uint32_t>& ids) const;
  void MergeMany(std::string_view text, Scratch& scratch, std::vector<uint32_t>& ids) const;

  MergeTable table_;
  StartSymbols start_;
  WholePieces pieces_;
  const Vocabulary* vocabulary_ = nullptr;
};

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_BPE_H_
