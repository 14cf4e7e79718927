#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>

namespace kvasir {
namespace {

// Above this many bytes a piece is merged by a heap, below by scanning all ranks for the least.
constexpr size_t kShortPiece = 48;
// Pieces of up to this many bytes fit a ShortSlot's key.
constexpr size_t kShortKey = 7;

uint64_t Mix(uint64_t x) {
  x *= 0x9E3779B97F4A7C15u;
  return x ^ x >> 32;
}

template <typename Word>
uint64_t Load(const char* p) {
  Word word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}

// The bytes and their number in one word. Reads no byte outside of `piece`: the loads overlap.
// REQUIRES: 1 <= piece.size() <= kShortKey.
uint64_t ShortKeyOf(std::string_view piece) {
  const char* p = piece.data();
  const size_t n = piece.size();
  const uint64_t length = uint64_t{n} << 56;
  if (n >= 4) return length | Load<uint32_t>(p) | Load<uint32_t>(p + n - 4) << 8 * (n - 4);
  if (n >= 2) return length | Load<uint16_t>(p) | Load<uint16_t>(p + n - 2) << 8 * (n - 2);
  return length | Load<uint8_t>(p);
}

// REQUIRES: piece.size() > kShortKey.
uint32_t LongHashOf(std::string_view piece) {
  const char* p = piece.data();
  const char* const last = p + piece.size() - 8;
  uint64_t hash = piece.size();
  for (; p < last; p += 8) hash = Mix(hash ^ Load<uint64_t>(p));
  return static_cast<uint32_t>(Mix(hash ^ Load<uint64_t>(last)));
}

// Of a slot of the table of pairs.
constexpr int kRankBits = 20;
constexpr int kIdBits = 22;

uint64_t PairOf(uint32_t left, uint32_t right) { return uint64_t{left} << kIdBits | right; }

// Slots for `entries` that leave at least half of them empty.
size_t TableSize(size_t entries) { return std::bit_ceil(std::max<size_t>(entries * 2, 2)); }

// The heap's order is (rank, position): the least rank, of equals the leftmost.
uint64_t HeapEntry(uint32_t rank, uint32_t position) { return uint64_t{rank} << 32 | position; }

void PushHeap(std::vector<uint64_t>& heap, uint64_t entry) {
  heap.push_back(entry);
  std::push_heap(heap.begin(), heap.end(), std::greater<>());
}

uint64_t PopHeap(std::vector<uint64_t>& heap) {
  std::pop_heap(heap.begin(), heap.end(), std::greater<>());
  const uint64_t entry = heap.back();
  heap.pop_back();
  return entry;
}

}  // namespace

Bpe::Bpe(const Vocabulary& vocabulary, const std::array<uint32_t, 256>& byte_ids,
         std::span<const Merge> merges)
    : byte_ids_(byte_ids) {
  AddPairs(merges);
  AddWholePieces(vocabulary);
}

void Bpe::AddPairs(std::span<const Merge> merges) {
  pairs_.assign(TableSize(merges.size()), kNoPair);
  pair_filter_.assign(std::max<size_t>(pairs_.size() / 16, 1), 0);
  result_of_rank_.reserve(merges.size());
  for (const Merge& merge : merges) {
    const uint64_t pair = PairOf(merge.left, merge.right);
    const uint64_t hash = Mix(pair);
    const uint64_t bit = FilterBitOf(hash);
    pair_filter_[bit >> 6] |= uint64_t{1} << (bit & 63);
    size_t slot = hash & (pairs_.size() - 1);
    while (pairs_[slot] != kNoPair && pairs_[slot] >> kRankBits != pair) {
      slot = (slot + 1) & (pairs_.size() - 1);
    }
    pairs_[slot] = pair << kRankBits | result_of_rank_.size();
    result_of_rank_.push_back(merge.result);
  }
  byte_pair_rank_.resize(256 * 256);
  for (size_t i = 0; i < byte_pair_rank_.size(); ++i) {
    byte_pair_rank_[i] = RankOf(byte_ids_[i >> 8], byte_ids_[i & 0xFF]);
  }
}

// A piece that merges into one token is found by one look at a table. A token is no such piece
// where other merges come first: those must be left out, so each token is merged once, here.
void Bpe::AddWholePieces(const Vocabulary& vocabulary) {
  std::vector<uint32_t> wholes;
  size_t longest = 0;
  size_t short_count = 0;
  size_t bytes = 0;
  Scratch scratch;
  std::vector<uint32_t> ids;
  longest_whole_ = 0;  // Nothing is tabled yet: Encode merges.
  for (uint32_t id = 0; id < vocabulary.size(); ++id) {
    if (!vocabulary.contains(id)) continue;
    const std::string_view piece = vocabulary.bytes(id);
    if (piece.empty()) continue;
    ids.clear();
    Encode(piece, scratch, ids);
    if (ids.size() != 1 || ids[0] != id) continue;
    wholes.push_back(id);
    longest = std::max(longest, piece.size());
    if (piece.size() <= kShortKey) {
      ++short_count;
    } else {
      bytes += piece.size();
    }
  }
  std::vector<ShortSlot> short_pieces(TableSize(short_count));
  std::vector<LongSlot> long_pieces(TableSize(wholes.size() - short_count));
  whole_bytes_.reserve(bytes);
  for (const uint32_t id : wholes) {
    const std::string_view piece = vocabulary.bytes(id);
    if (piece.size() <= kShortKey) {
      const uint64_t key = ShortKeyOf(piece);
      size_t slot = Mix(key) & (short_pieces.size() - 1);
      while (short_pieces[slot].key != 0) slot = (slot + 1) & (short_pieces.size() - 1);
      short_pieces[slot] = {key, id};
    } else {
      const uint32_t hash = LongHashOf(piece);
      size_t slot = hash & (long_pieces.size() - 1);
      while (long_pieces[slot].id != kNoRank) slot = (slot + 1) & (long_pieces.size() - 1);
      long_pieces[slot] = {hash, id, static_cast<uint32_t>(whole_bytes_.size()),
                           static_cast<uint32_t>(piece.size())};
      whole_bytes_.append(piece);
    }
  }
  short_pieces_ = std::move(short_pieces);
  long_pieces_ = std::move(long_pieces);
  longest_whole_ = longest;
}

inline uint64_t Bpe::FilterBitOf(uint64_t hash) const {
  return hash >> 40 & (pair_filter_.size() * 64 - 1);
}

inline uint32_t Bpe::RankOf(uint32_t left, uint32_t right) const {
  const uint64_t pair = PairOf(left, right);
  const uint64_t hash = Mix(pair);
  const uint64_t bit = FilterBitOf(hash);
  if (!(pair_filter_[bit >> 6] >> (bit & 63) & 1)) return kNoRank;
  size_t slot = hash & (pairs_.size() - 1);
  while (pairs_[slot] != kNoPair) {
    if (pairs_[slot] >> kRankBits == pair) return pairs_[slot] & ((1u << kRankBits) - 1);
    slot = (slot + 1) & (pairs_.size() - 1);
  }
  return kNoRank;
}

inline uint32_t Bpe::FindWhole(std::string_view piece) const {
  if (piece.size() > longest_whole_) return kNoRank;
  if (piece.size() <= kShortKey) {
    const uint64_t key = ShortKeyOf(piece);
    size_t slot = Mix(key) & (short_pieces_.size() - 1);
    while (short_pieces_[slot].key != 0) {
      if (short_pieces_[slot].key == key) return short_pieces_[slot].id;
      slot = (slot + 1) & (short_pieces_.size() - 1);
    }
    return kNoRank;
  }
  const uint32_t hash = LongHashOf(piece);
  size_t slot = hash & (long_pieces_.size() - 1);
  while (long_pieces_[slot].id != kNoRank) {
    const LongSlot& found = long_pieces_[slot];
    if (found.hash == hash && found.length == piece.size() &&
        std::memcmp(whole_bytes_.data() + found.begin, piece.data(), piece.size()) == 0) {
      return found.id;
    }
    slot = (slot + 1) & (long_pieces_.size() - 1);
  }
  return kNoRank;
}

void Bpe::Encode(std::string_view piece, Scratch& scratch, std::vector<uint32_t>& ids) const {
  if (piece.size() == 1) {
    ids.push_back(byte_ids_[static_cast<unsigned char>(piece[0])]);
  } else if (const uint32_t whole = FindWhole(piece); whole != kNoRank) {
    ids.push_back(whole);
  } else if (piece.size() <= kShortPiece) {
    MergeShort(piece, ids);
  } else {
    MergeLong(piece, scratch, ids);
  }
}

void Bpe::MergeShort(std::string_view piece, std::vector<uint32_t>& ids) const {
  uint32_t symbols[kShortPiece];
  uint32_t ranks[kShortPiece];  // ranks[i] of the pair (symbols[i], symbols[i + 1])
  size_t count = piece.size();
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(piece[i]); };
  for (size_t i = 0; i < count; ++i) symbols[i] = byte_ids_[byte(i)];
  for (size_t i = 0; i + 1 < count; ++i) ranks[i] = byte_pair_rank_[byte(i) << 8 | byte(i + 1)];
  while (count > 1) {
    const size_t at = std::min_element(ranks, ranks + count - 1) - ranks;
    if (ranks[at] == kNoRank) break;
    symbols[at] = result_of_rank_[ranks[at]];
    --count;
    std::copy(symbols + at + 2, symbols + count + 1, symbols + at + 1);
    if (at + 1 < count) {
      std::copy(ranks + at + 2, ranks + count, ranks + at + 1);
      ranks[at] = RankOf(symbols[at], symbols[at + 1]);
    }
    if (at > 0) ranks[at - 1] = RankOf(symbols[at - 1], symbols[at]);
  }
  ids.insert(ids.end(), symbols, symbols + count);
}

void Bpe::MergeLong(std::string_view piece, Scratch& scratch, std::vector<uint32_t>& ids) const {
  constexpr uint32_t kGone = kNoRank;  // As an id: merged into the symbol before it.
  const uint32_t count = static_cast<uint32_t>(piece.size());
  std::vector<Symbol>& symbols = scratch.symbols;
  std::vector<uint64_t>& heap = scratch.heap;
  symbols.resize(count);
  heap.clear();
  const auto byte = [&](uint32_t i) { return static_cast<unsigned char>(piece[i]); };
  for (uint32_t i = 0; i < count; ++i) {
    symbols[i] = {byte_ids_[byte(i)], i - 1, i + 1};
    if (i + 1 == count) break;
    const uint32_t rank = byte_pair_rank_[byte(i) << 8 | byte(i + 1)];
    if (rank != kNoRank) heap.push_back(HeapEntry(rank, i));
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());

  const auto push_pair = [&](uint32_t left) {
    const uint32_t rank = RankOf(symbols[left].id, symbols[symbols[left].next].id);
    if (rank != kNoRank) PushHeap(heap, HeapEntry(rank, left));
  };
  while (!heap.empty()) {
    const uint64_t entry = PopHeap(heap);
    const auto rank = static_cast<uint32_t>(entry >> 32);
    const auto at = static_cast<uint32_t>(entry);
    Symbol& symbol = symbols[at];
    // The entry is stale where either side has been merged since.
    if (symbol.id == kGone || symbol.next == count ||
        RankOf(symbol.id, symbols[symbol.next].id) != rank) {
      continue;
    }
    Symbol& right = symbols[symbol.next];
    symbol.id = result_of_rank_[rank];
    symbol.next = right.next;
    right.id = kGone;
    if (symbol.next != count) {
      symbols[symbol.next].previous = at;
      push_pair(at);
    }
    if (at > 0) push_pair(symbol.previous);
  }
  for (uint32_t i = 0; i < count; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace kvasir
