#ifndef KVASIR_TOKENIZER_WHOLE_PIECES_H_
#define KVASIR_TOKENIZER_WHOLE_PIECES_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace kvasir {

// The pieces of text that are one token each: most of a text is found here by one look.
//
// A look has two steps, Ask and Find: what one of them waits for from memory can be on its way
// while other pieces are asked for.
class WholePieces {
 public:
  static constexpr uint32_t kNone = ~0u;

  WholePieces() = default;
  // `tokens`: no two of the same bytes, none empty. REQUIRES: `vocabulary` outlives this.
  WholePieces(const Vocabulary& vocabulary, std::span<const uint32_t> tokens);

  struct Question {
    uint64_t low;   // The piece's first eight bytes, zeros behind them, if it is packed, ...
    uint64_t high;  // ... and the next four with its length; 0: not packed.
    size_t slot;
  };

  // REQUIRES: `piece` is not empty, and bytes up to `readable` may be read.
  Question Ask(std::string_view piece, const char* readable) const {
    if (piece.size() > kMaxPacked) return AskLong(piece);
    uint64_t low = 0;
    uint64_t high = 0;
    if (readable - piece.data() >= 16) {
      std::memcpy(&low, piece.data(), 8);
      std::memcpy(&high, piece.data() + 8, 8);
    } else {
      std::memcpy(&low, piece.data(), std::min<size_t>(piece.size(), 8));
      if (piece.size() > 8) std::memcpy(&high, piece.data() + 8, piece.size() - 8);
    }
    low &= kLowMask[piece.size()];
    high = (high & kHighMask[piece.size()]) | uint64_t{piece.size()} << kLengthShift;
    const Question question = {low, high, SlotOf(low, high)};
    __builtin_prefetch(&packed_[question.slot]);
    return question;
  }

  // The token that is `piece`, or kNone. REQUIRES: `question` is what Ask gave for it.
  uint32_t Find(const Question& question, std::string_view piece) const {
    if (question.high == 0) return FindLong(question, piece);
    for (size_t slot = question.slot; packed_[slot].high != 0; slot = (slot + 1) & packed_mask_) {
      if (packed_[slot].low == question.low && (packed_[slot].high & kKeyMask) == question.high) {
        return static_cast<uint32_t>(packed_[slot].high >> kIdShift);
      }
    }
    return kNone;
  }

 private:
  // Longer pieces are rare: of them the table holds the hash, of others all of their bytes.
  static constexpr size_t kMaxPacked = 12;
  // Of a packed piece's second word: four bytes, the length, the id.
  static constexpr int kLengthShift = 32;
  static constexpr int kIdShift = 36;
  static constexpr uint64_t kKeyMask = (uint64_t{1} << kIdShift) - 1;
  static_assert(Vocabulary::kMaxId < uint64_t{1} << (64 - kIdShift));

  // By a piece's length: which bits of its first eight bytes count, and of the next four.
  static constexpr std::array<uint64_t, kMaxPacked + 1> kLowMask = {
      0,     0xFF,  0xFFFF, 0xFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFF, (1ull << 48) - 1, (1ull << 56) - 1,
      ~0ull, ~0ull, ~0ull,  ~0ull,    ~0ull};
  static constexpr std::array<uint64_t, kMaxPacked + 1> kHighMask = {
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF};

  struct PackedSlot {
    uint64_t low = 0;
    uint64_t high = 0;  // 0: empty
  };
  struct LongSlot {
    uint32_t hash = 0;
    uint32_t id = kNone;  // kNone: empty
  };

  size_t SlotOf(uint64_t low, uint64_t high) const {
    const uint64_t hash = (low ^ high * 0xD6E8FEB86659FD93u) * 0x9E3779B97F4A7C15u;
    return (hash ^ hash >> 32) & packed_mask_;
  }
  Question AskLong(std::string_view piece) const;
  uint32_t FindLong(const Question& question, std::string_view piece) const;

  // Open addressing, powers of two of slots, at most three in four of them full.
  std::vector<PackedSlot> packed_;
  std::vector<LongSlot> long_;
  size_t packed_mask_ = 0;
  size_t longest_ = 0;
  const Vocabulary* vocabulary_ = nullptr;
};

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_WHOLE_PIECES_H_
