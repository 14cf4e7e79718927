#include "engine/cache/host_tier.h"

namespace kvasir {

// Keys come from the pool's index: this one makes none, and its secret is never used.
HostTier::HostTier(int num_blocks) : blocks_(num_blocks), index_(num_blocks, /*secret=*/0) {}

int HostTier::Find(PrefixIndex::Key key, PrefixIndex::Tokens tokens) const {
  return index_.Find(key, tokens);
}

int HostTier::Add(PrefixIndex::Key key, PrefixIndex::Tokens tokens) {
  if (const int held = index_.Find(key, tokens); held >= 0) {
    Hold(held);
    Release(held);
    return -1;
  }
  const int block = blocks_.Allocate();
  if (block < 0) return -1;
  index_.Erase(block);
  index_.Insert(block, key, tokens);
  Release(block);
  return block;
}

void HostTier::Clear() {
  for (int block = 0; block < blocks_.total(); ++block) index_.Erase(block);
}

}  // namespace kvasir
