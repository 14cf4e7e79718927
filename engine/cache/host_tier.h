#ifndef KVASIR_ENGINE_CACHE_HOST_TIER_H_
#define KVASIR_ENGINE_CACHE_HOST_TIER_H_

#include "engine/cache/block_allocator.h"
#include "engine/cache/prefix_index.h"

namespace kvasir {

// Which blocks of the host's memory hold copies of which full blocks. Found as in the pool, by what
// they hold; the least recently used one gives way. Knows nothing of the bytes in them.
//
// Allocates nothing after construction.
class HostTier {
 public:
  explicit HostTier(int num_blocks);

  // The block that holds `tokens`, the end of the prefix `key`; -1 where there is none.
  int Find(PrefixIndex::Key key, PrefixIndex::Tokens tokens) const;
  // The block that they are to be copied to, the most recently used one from now on. -1: nothing is
  // to be copied, since they are held already or every block is held on to.
  int Add(PrefixIndex::Key key, PrefixIndex::Tokens tokens);
  // Between the two the block does not give way; then it is the most recently used one.
  void Hold(int block) { blocks_.AddReference(block); }
  void Release(int block) { blocks_.Release(block, /*keep=*/true); }
  // Holds nothing any more.
  void Clear();

 private:
  BlockAllocator blocks_;  // the free ones, in the order in which they give way
  PrefixIndex index_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_CACHE_HOST_TIER_H_
