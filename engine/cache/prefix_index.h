#ifndef KVASIR_ENGINE_CACHE_PREFIX_INDEX_H_
#define KVASIR_ENGINE_CACHE_PREFIX_INDEX_H_

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/batch.h"

namespace kvasir {

// Finds full blocks again by what they hold: the K and V of kBlockTokens tokens behind a certain
// prefix, within one tenant. A prefix goes by a 128-bit hash, chained from block to block and keyed
// by a secret of the process, so that nobody can aim at a collision; the block's own tokens are
// compared besides.
//
// Allocates nothing after construction.
class PrefixIndex {
 public:
  struct Key {
    uint64_t low = 0, high = 0;
    bool operator==(const Key&) const = default;
  };
  using Tokens = std::span<const int, kBlockTokens>;

  // `secret`: random.
  PrefixIndex(int num_blocks, uint64_t secret);

  // Of the empty prefix.
  Key Root(std::string_view tenant) const;
  // Of the prefix `before` and `tokens`.
  Key Extend(Key before, Tokens tokens) const;

  // The block that holds `tokens`, the end of the prefix `key`; -1 where there is none.
  int Find(Key key, Tokens tokens) const;
  // `block` holds `tokens`, the end of the prefix `key`. Where another block does so already, that
  // one stays the one that is found. REQUIRES: the block has no key.
  void Insert(int block, Key key, Tokens tokens);
  // No effect where the block has no key.
  void Erase(int block);

  bool has_key(int block) const { return entries_[block].has_key; }
  // Whether Find gives it. A block that is not listed duplicates one that is.
  bool listed(int block) const { return entries_[block].listed; }
  // REQUIRES: has_key(block).
  Key key(int block) const { return entries_[block].key; }
  // REQUIRES: listed(block).
  Tokens tokens(int block) const { return entries_[block].tokens; }

 private:
  struct Entry {
    Key key;
    std::array<int, kBlockTokens> tokens;
    int next = -1;  // in the same bucket
    bool has_key = false;
    bool listed = false;
  };
  size_t BucketOf(Key key) const { return key.low & (buckets_.size() - 1); }

  const uint64_t secret_;
  std::vector<Entry> entries_;  // by block
  std::vector<int> buckets_;    // the first entry, or -1; a power of two of them
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_CACHE_PREFIX_INDEX_H_
