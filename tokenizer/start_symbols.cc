#include "tokenizer/start_symbols.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

constexpr uint32_t kNoRank = MergeTable::kNoRank;

bool Continues(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

bool IsCharacter(std::string_view bytes) {
  return !bytes.empty() && bytes.size() == CharacterBytes(bytes[0]) &&
         WellFormedPrefix(bytes) == bytes.size();
}

// The character at the end (start) of `bytes`, if one is there, whole.
std::optional<char32_t> LastCharacter(std::string_view bytes) {
  size_t begin = bytes.size() - 1;
  while (begin > 0 && Continues(bytes[begin])) --begin;
  if (!IsCharacter(bytes.substr(begin))) return std::nullopt;
  return DecodeWellFormed(bytes.data() + begin).value;
}
std::optional<char32_t> FirstCharacter(std::string_view bytes) {
  if (!IsCharacter(bytes.substr(0, CharacterBytes(bytes[0])))) return std::nullopt;
  return DecodeWellFormed(bytes.data()).value;
}

// Merges across a border that take a given part of a character: the lowest rank of those whose
// other part is at least a known character, and of all others.
struct Takers {
  uint32_t known = kNoRank;
  uint32_t any = kNoRank;
};

}  // namespace

struct StartSymbols::Builder {
  const Vocabulary& vocabulary;
  const MergeTable& table;
  StartSymbols& out;
  // By the part's token.
  absl::flat_hash_map<uint32_t, Takers> takers_of_start;
  absl::flat_hash_map<uint32_t, Takers> takers_of_end;
  std::vector<uint32_t> first_use;  // [ids] the lowest rank of the merges that a token is part of

  void AddUse(const Merge& merge) {
    const uint32_t rank = table.Rank(merge.left, merge.right);
    for (const uint32_t part : {merge.left, merge.right}) {
      first_use[part] = std::min(first_use[part], rank);
    }
  }

  // Notes what `merge` takes of the characters on both sides of the border between its two tokens.
  void AddTakers(const Merge& merge) {
    const std::string_view left = vocabulary.bytes(merge.left);
    const std::string_view right = vocabulary.bytes(merge.right);
    if (Continues(right[0])) return;  // Inside a character.
    const bool takes_start = right.size() < CharacterBytes(right[0]);
    const bool takes_end = std::all_of(left.begin(), left.end(), Continues);
    if (!takes_start && !takes_end) return;
    const uint32_t rank = table.Rank(merge.left, merge.right);
    if (takes_start) {
      AddTaker(takers_of_start[merge.right], rank, LastCharacter(left), kTakesNext);
    }
    if (takes_end) {
      AddTaker(takers_of_end[merge.left], rank, FirstCharacter(right), kTakesPrevious);
    }
  }

  void AddTaker(Takers& takers, uint32_t rank, std::optional<char32_t> neighbor, uint32_t flag) {
    uint32_t& lowest = neighbor ? takers.known : takers.any;
    lowest = std::min(lowest, rank);
    if (neighbor && *neighbor < kCharacters) out.entries_[*neighbor] |= flag;
  }

  // Where `bytes` are a character: merges them, and enters it if nothing else can come before.
  void AddCharacter(std::string_view bytes) {
    if (bytes.size() < 2 || bytes.size() > 3 || !IsCharacter(bytes)) return;
    uint32_t symbols[3] = {};
    size_t count = 0;
    for (const char byte : bytes) symbols[count++] = out.ByteId(byte);
    uint32_t highest = 0;  // The highest rank of its own merges.
    Takers before;         // Of all parts that it passes through.
    Takers after;
    while (count > 1) {
      AddLower(takers_of_start, symbols[0], before);
      AddLower(takers_of_end, symbols[count - 1], after);
      uint32_t ranks[2] = {table.Rank(symbols[0], symbols[1]), kNoRank};
      if (count > 2) ranks[1] = table.Rank(symbols[1], symbols[2]);
      const size_t at = ranks[1] < ranks[0] ? 1 : 0;
      if (ranks[at] == kNoRank) return;
      highest = std::max(highest, ranks[at]);
      symbols[at] = table.Result(ranks[at]);
      if (at == 0) symbols[1] = symbols[2];
      --count;
    }
    if (std::min(before.any, after.any) < highest) return;
    // As a part, too, it must come later than all that happens before it is whole.
    if (first_use[symbols[0]] < highest) return;
    uint32_t& entry = out.entries_[DecodeWellFormed(bytes.data()).value];
    entry |= kWhole | symbols[0];
    if (before.known < highest) entry |= kNotAfter;
    if (after.known < highest) entry |= kNotBefore;
  }

  static void AddLower(const absl::flat_hash_map<uint32_t, Takers>& takers_of, uint32_t symbol,
                       Takers& lowest) {
    const auto found = takers_of.find(symbol);
    if (found == takers_of.end()) return;
    lowest.known = std::min(lowest.known, found->second.known);
    lowest.any = std::min(lowest.any, found->second.any);
  }

  // Every two symbols side by side in a token are so at the border of one of the merges that made
  // it.
  void AddNeighbors(const Merge& merge) {
    const std::string_view left = vocabulary.bytes(merge.left);
    const std::string_view right = vocabulary.bytes(merge.right);
    const uint32_t left_byte = out.ByteId(left.back());
    const uint32_t right_byte = out.ByteId(right[0]);
    const uint32_t left_token = TokenOf(LastCharacter(left)).value_or(left_byte);
    const uint32_t right_token = TokenOf(FirstCharacter(right)).value_or(right_byte);
    for (const uint32_t l : {left_byte, left_token}) {
      for (const uint32_t r : {right_byte, right_token}) {
        const uint64_t bit = out.NeighborBit(l, r);
        out.neighbors_[bit >> 6] |= uint64_t{1} << (bit & 63);
      }
    }
  }

  std::optional<uint32_t> TokenOf(std::optional<char32_t> c) const {
    if (!c || *c >= kCharacters || !(out.entries_[*c] & kWhole)) return std::nullopt;
    return out.entries_[*c] & kIdMask;
  }
};

StartSymbols::StartSymbols(const Vocabulary& vocabulary, const std::array<uint32_t, 256>& byte_ids,
                           const MergeTable& table, std::span<const Merge> merges)
    : byte_ids_(byte_ids), entries_(kCharacters) {
  for (char32_t c = 0; c < 0x80; ++c) entries_[c] = kWhole | byte_ids[c];
  const size_t bits = std::bit_ceil(std::max<size_t>(merges.size() * 4, 64));
  neighbors_.resize(bits / 64);
  neighbor_shift_ = 64 - std::countr_zero(bits);
  Builder builder = {vocabulary, table, *this, {}, {}, {}};
  builder.first_use.resize(vocabulary.size(), kNoRank);
  for (const Merge& merge : merges) builder.AddUse(merge);
  for (const Merge& merge : merges) builder.AddTakers(merge);
  for (const Merge& merge : merges) builder.AddCharacter(vocabulary.bytes(merge.result));
  for (const Merge& merge : merges) builder.AddNeighbors(merge);
}

StartSymbols::Extent StartSymbols::Read(std::string_view text, std::span<uint32_t> symbols) const {
  const char* const end = text.data() + text.size();
  const char* p = text.data();
  uint32_t* out = symbols.data();
  // Two characters of three bytes may have to be taken apart.
  uint32_t* const full = out + symbols.size() - (symbols.size() < text.size() ? 5 : 0);
  const auto append_bytes = [&](const char* q, const char* bytes_end) {
    for (; q != bytes_end; ++q) *out++ = ByteId(*q);
  };
  uint32_t previous = 0;  // The entry of the character before `p`.
  while (p != end && out < full) {
    const auto* const u = reinterpret_cast<const unsigned char*>(p);
    size_t size = 1;
    uint32_t entry = kTakesNext | kTakesPrevious;  // What the table does not hold may do anything.
    if (*u < 0x80) {
      entry = entries_[*u];
    } else if (*u >= 0xE0 && *u < 0xF0 && end - p >= 3) {
      size = 3;
      entry = entries_[(u[0] & 0x0Fu) << 12 | (u[1] & 0x3Fu) << 6 | (u[2] & 0x3Fu)];
    } else if (*u >= 0xC0 && *u < 0xE0 && end - p >= 2) {
      size = 2;
      entry = entries_[(u[0] & 0x1Fu) << 6 | (u[1] & 0x3Fu)];
    }
    const uint32_t conflict = previous >> 2 & entry & (kNotAfter | kTakesPrevious);
    if (conflict == 0 && (entry & kWhole)) {
      *out++ = entry & kIdMask;
    } else {
      if ((conflict & kTakesPrevious) && (previous & kWhole)) {
        const char* before = p;
        while (Continues(*--before)) {
        }
        --out;
        append_bytes(before, p);
      }
      if (conflict & kNotAfter) entry &= ~kWhole;
      if (entry & kWhole) {
        *out++ = entry & kIdMask;
      } else {
        append_bytes(p, p + size);
      }
    }
    previous = entry;
    p += size;
  }
  return {static_cast<size_t>(out - symbols.data()), static_cast<size_t>(p - text.data())};
}

}  // namespace kvasir
