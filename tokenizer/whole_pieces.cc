#include "tokenizer/whole_pieces.h"

#include <algorithm>
#include <bit>

namespace kvasir {
namespace {

// Of the first and last eight bytes and the length. REQUIRES: at least eight bytes.
uint32_t LongHashOf(std::string_view piece) {
  uint64_t first;
  uint64_t last;
  std::memcpy(&first, piece.data(), 8);
  std::memcpy(&last, piece.data() + piece.size() - 8, 8);
  const uint64_t hash =
      (first * 0xD6E8FEB86659FD93u ^ last ^ piece.size() << 56) * 0x9E3779B97F4A7C15u;
  return static_cast<uint32_t>(hash >> 32);
}

size_t TableSize(size_t entries) { return std::bit_ceil(entries + entries / 3 + 1); }

}  // namespace

WholePieces::WholePieces(const Vocabulary& vocabulary, std::span<const uint32_t> tokens)
    : vocabulary_(&vocabulary) {
  const size_t long_count = std::count_if(tokens.begin(), tokens.end(), [&](uint32_t id) {
    return vocabulary.bytes(id).size() > kMaxPacked;
  });
  packed_.resize(TableSize(tokens.size() - long_count));
  long_.resize(TableSize(long_count));
  packed_mask_ = packed_.size() - 1;
  for (const uint32_t id : tokens) {
    const std::string_view piece = vocabulary.bytes(id);
    longest_ = std::max(longest_, piece.size());
    const Question question = Ask(piece, piece.data() + piece.size());
    size_t slot = question.slot;
    if (question.high != 0) {
      while (packed_[slot].high != 0) slot = (slot + 1) & packed_mask_;
      packed_[slot] = {question.low, question.high | uint64_t{id} << kIdShift};
    } else {
      while (long_[slot].id != kNone) slot = (slot + 1) & (long_.size() - 1);
      long_[slot] = {static_cast<uint32_t>(question.low), id};
    }
  }
}

WholePieces::Question WholePieces::AskLong(std::string_view piece) const {
  if (piece.size() > longest_) return {0, 0, 0};
  const uint32_t hash = LongHashOf(piece);
  const Question question = {hash, 0, hash & (long_.size() - 1)};
  __builtin_prefetch(&long_[question.slot]);
  return question;
}

uint32_t WholePieces::FindLong(const Question& question, std::string_view piece) const {
  if (piece.size() > longest_) return kNone;
  for (size_t slot = question.slot; long_[slot].id != kNone;
       slot = (slot + 1) & (long_.size() - 1)) {
    if (long_[slot].hash == question.low && vocabulary_->bytes(long_[slot].id) == piece) {
      return long_[slot].id;
    }
  }
  return kNone;
}

}  // namespace kvasir
