#include "engine/cache/block_allocator.h"

#include "engine/check.h"

namespace kvasir {

BlockAllocator::BlockAllocator(int num_blocks)
    : references_(num_blocks, 0), ring_(num_blocks + 1), free_(num_blocks) {
  for (int node = 0; node <= num_blocks; ++node) {
    ring_[node] = {node == 0 ? num_blocks : node - 1, node == num_blocks ? 0 : node + 1};
  }
}

void BlockAllocator::LinkAfter(int node, int block) {
  const int after = ring_[node].after;
  ring_[block] = {node, after};
  ring_[node].after = block;
  ring_[after].before = block;
  ++free_;
}

void BlockAllocator::Unlink(int block) {
  const Link link = ring_[block];
  ring_[link.before].after = link.after;
  ring_[link.after].before = link.before;
  --free_;
}

int BlockAllocator::Allocate() {
  if (free_ == 0) return -1;
  const int block = ring_[total()].after;
  Unlink(block);
  references_[block] = 1;
  return block;
}

void BlockAllocator::AddReference(int block) {
  if (references_[block]++ == 0) Unlink(block);
}

void BlockAllocator::Release(int block, bool keep) {
  KVASIR_CHECK(references_[block] > 0);
  if (--references_[block] > 0) return;
  LinkAfter(keep ? ring_[total()].before : total(), block);
}

}  // namespace kvasir
