#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "tokenizer/reachable_tokens.h"

namespace kvasir {
namespace {

constexpr uint32_t kNoRank = MergeTable::kNoRank;

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

// A pair of neighbours among few symbols: its rank and its position, so that the least of these is
// the pair that merges next.
using Key = uint32_t;
constexpr int kPositionBits = 6;
constexpr Key KeyOf(uint32_t rank, size_t position) {
  return rank << kPositionBits | static_cast<Key>(position);
}
constexpr uint32_t RankOf(Key key) { return key >> kPositionBits; }
constexpr size_t PositionOf(Key key) { return key % (1u << kPositionBits); }
constexpr Key kNoKey = KeyOf(kNoRank, 0);  // No pair's key is as high.
static_assert(MergeTable::kRankBits + kPositionBits < 32);

constexpr size_t kKeysAtOnce = 8;

// REQUIRES: `count` is a multiple of kKeysAtOnce, not 0.
inline Key LeastOf(const Key* keys, size_t count) {
  Key least = kNoKey;
  for (size_t i = 0; i < count; i += kKeysAtOnce) {
    const Key* const k = keys + i;
    const Key a = std::min(std::min(k[0], k[1]), std::min(k[2], k[3]));
    const Key b = std::min(std::min(k[4], k[5]), std::min(k[6], k[7]));
    least = std::min(least, std::min(a, b));
  }
  return least;
}

}  // namespace

Bpe::Bpe(const Vocabulary& vocabulary, const std::array<uint32_t, 256>& byte_ids,
         std::span<const Merge> merges, const std::vector<uint32_t>* whole)
    : table_(merges), start_(vocabulary, byte_ids, table_, merges), vocabulary_(&vocabulary) {
  if (whole != nullptr) {
    pieces_ = WholePieces(vocabulary, *whole);
    return;
  }
  Scratch scratch;
  std::vector<uint32_t> ids;
  const auto merges_to = [&](uint32_t id) {
    ids.clear();
    MergeAtOnce(vocabulary.bytes(id), scratch, ids);
    return ids.size() == 1 && ids[0] == id;
  };
  pieces_ = WholePieces(vocabulary,
                        ReachableTokens(vocabulary.size(), byte_ids, merges, table_, merges_to));
}

void Bpe::Encode(std::span<const std::string_view> pieces, const char* readable, Scratch& scratch,
                 std::vector<uint32_t>& ids) const {
  std::array<WholePieces::Question, kMaxPieces> questions;
  for (size_t i = 0; i < pieces.size(); ++i) questions[i] = pieces_.Ask(pieces[i], readable);
  for (size_t i = 0; i < pieces.size(); ++i) {
    const uint32_t id = pieces_.Find(questions[i], pieces[i]);
    if (id != WholePieces::kNone) {
      ids.push_back(id);
    } else {
      MergePiece(pieces[i], scratch, ids);
    }
  }
}

void Bpe::MergePiece(std::string_view piece, Scratch& scratch, std::vector<uint32_t>& ids) const {
  FewSymbols symbols;
  const StartSymbols::Extent read = start_.Read(piece, symbols);
  if (read.bytes == piece.size()) {
    MergeParts(std::span(symbols).first(read.symbols), ids);
  } else {
    MergeWindows(piece, read.bytes, scratch, ids);
  }
}

// Merges a piece of any length a window at a time, in time linear in its length.
//
// Ids are the encoding of a text exactly if every two neighbours are the encoding of their own
// bytes: the first merge across one of the borders would be made there, too, where nothing else is.
// So what the text before a window became and what the window became may be joined where the two
// ids at the seam may stand together. Where they may not, the window takes in more of the ids
// before it. What follows a token changes it but rarely, and not from afar.
void Bpe::MergeWindows(std::string_view piece, size_t window, Scratch& scratch,
                       std::vector<uint32_t>& ids) const {
  const size_t first = ids.size();
  const size_t least_overlap = window / 4;
  size_t overlap = least_overlap;
  size_t done = 0;  // ids from `first` on are the encoding of these bytes.
  while (done < piece.size()) {
    size_t kept = ids.size();
    size_t begin = done;
    while (kept > first && done - begin < overlap) begin -= vocabulary_->bytes(ids[--kept]).size();
    // A window is of few symbols, which are fast to merge, or else makes up for its overlap.
    const size_t fresh = overlap == least_overlap ? window - least_overlap : 8 * overlap;
    const size_t end = done + std::min(fresh, piece.size() - done);
    scratch.window.clear();
    MergeAtOnce(piece.substr(begin, end - begin), scratch, scratch.window);
    if (kept > first) {
      const size_t left = vocabulary_->bytes(ids[kept - 1]).size();
      const size_t right = vocabulary_->bytes(scratch.window[0]).size();
      scratch.seam.clear();
      MergeAtOnce(piece.substr(begin - left, left + right), scratch, scratch.seam);
      if (scratch.seam != std::vector<uint32_t>{ids[kept - 1], scratch.window[0]}) {
        overlap *= 2;
        continue;
      }
    }
    ids.resize(kept);
    ids.insert(ids.end(), scratch.window.begin(), scratch.window.end());
    done = end;
  }
}

void Bpe::MergeAtOnce(std::string_view text, Scratch& scratch, std::vector<uint32_t>& ids) const {
  FewSymbols symbols;
  const StartSymbols::Extent read = start_.Read(text, symbols);
  if (read.bytes == text.size()) {
    MergeParts(std::span(symbols).first(read.symbols), ids);
  } else {
    MergeMany(text, scratch, ids);
  }
}

// Merges each part that may hold tokens of more than one symbol.
void Bpe::MergeParts(std::span<const uint32_t> symbols, std::vector<uint32_t>& ids) const {
  const uint64_t joined = start_.Joined(symbols);
  for (size_t begin = 0; begin < symbols.size();) {
    const size_t size = static_cast<size_t>(std::countr_one(joined >> begin)) + 1;
    if (size == 1) {
      ids.push_back(symbols[begin]);
    } else {
      MergePart(symbols.subspan(begin, size), ids);
    }
    begin += size;
  }
}

// REQUIRES: 2 symbols to kMostFew.
void Bpe::MergePart(std::span<const uint32_t> part, std::vector<uint32_t>& ids) const {
  const size_t count = part.size();
  if (count == 2) {
    const uint32_t rank = table_.Rank(part[0], part[1]);
    if (rank != kNoRank) {
      ids.push_back(table_.Result(rank));
    } else {
      ids.push_back(part[0]);
      ids.push_back(part[1]);
    }
    return;
  }
  // A list of the symbols that are left: next[i] of symbol i, previous[i + 1]. There is one more
  // behind the last, which merges with nothing, and is the one before the first, too.
  const size_t none = count;
  uint32_t symbols[kMostFew + 1];
  uint8_t next[kMostFew + 1];
  uint8_t previous[kMostFew + 1];
  Key keys[kMostFew + kKeysAtOnce];  // [i]: of symbol i and the one after it
  const auto set_pair = [&](size_t left, size_t right) {
    keys[left] = KeyOf(table_.Rank(symbols[left], symbols[right]), left);
  };
  for (size_t i = 0; i < count; ++i) {
    symbols[i] = part[i];
    next[i] = static_cast<uint8_t>(i + 1);
    previous[i + 1] = static_cast<uint8_t>(i);
    if (i > 0) set_pair(i - 1, i);
  }
  symbols[none] = MergeTable::kNoToken;
  previous[0] = static_cast<uint8_t>(none);
  size_t end = count - 1;  // of the keys that are looked at
  do {
    keys[end++] = kNoKey;
  } while (end % kKeysAtOnce != 0);
  while (true) {
    const Key least = LeastOf(keys, end);
    if (least >= kNoKey) break;
    const size_t left = PositionOf(least);
    const size_t right = next[left];
    const size_t after = next[right];
    const size_t before = previous[left];
    symbols[left] = table_.Result(RankOf(least));
    next[left] = static_cast<uint8_t>(after);
    previous[after] = static_cast<uint8_t>(left);
    keys[right] = kNoKey;
    set_pair(left, after);
    set_pair(before, left);
  }
  for (size_t i = 0; i < count; i = next[i]) ids.push_back(symbols[i]);
}

void Bpe::MergeMany(std::string_view text, Scratch& scratch, std::vector<uint32_t>& ids) const {
  constexpr uint32_t kGone = ~0u;  // As an id: merged into the symbol before it.
  std::vector<Node>& nodes = scratch.nodes;
  std::vector<uint64_t>& heap = scratch.heap;
  scratch.symbols.resize(text.size());
  const auto count = static_cast<uint32_t>(start_.Read(text, scratch.symbols).symbols);
  nodes.clear();
  heap.clear();
  for (uint32_t i = 0; i < count; ++i) nodes.push_back({scratch.symbols[i], i - 1, i + 1});
  const auto find = [&](uint32_t left) {
    const uint32_t right = nodes[left].next;
    return right == count ? kNoRank : table_.Rank(nodes[left].id, nodes[right].id);
  };
  for (uint32_t i = 0; i < count; ++i) {
    if (const uint32_t rank = find(i); rank != kNoRank) heap.push_back(HeapEntry(rank, i));
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto push_pair = [&](uint32_t left) {
    if (const uint32_t rank = find(left); rank != kNoRank) PushHeap(heap, HeapEntry(rank, left));
  };
  while (!heap.empty()) {
    const uint64_t entry = PopHeap(heap);
    const auto at = static_cast<uint32_t>(entry);
    Node& node = nodes[at];
    // The entry is stale where either side has been merged since.
    if (node.id == kGone) continue;
    const uint32_t rank = find(at);
    if (rank != entry >> 32) continue;
    Node& right = nodes[node.next];
    node.id = table_.Result(rank);
    node.next = right.next;
    right.id = kGone;
    if (node.next != count) nodes[node.next].previous = at;
    push_pair(at);
    if (at > 0) push_pair(node.previous);
  }
  for (uint32_t i = 0; i < count; i = nodes[i].next) ids.push_back(nodes[i].id);
}

}  // namespace kvasir
