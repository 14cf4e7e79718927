#include "engine/cache/block_allocator.h"

#include "engine/check.h"

namespace kvasir {

BlockAllocator::BlockAllocator(int num_blocks) : references_(num_blocks, 0) {
  free_.reserve(num_blocks);
  for (int block = num_blocks - 1; block >= 0; --block) free_.push_back(block);
}

int BlockAllocator::Allocate() {
  if (free_.empty()) return -1;
  const int block = free_.back();
  free_.pop_back();
  references_[block] = 1;
  return block;
}

void BlockAllocator::AddReference(int block) {
  KVASIR_CHECK(references_[block] > 0);
  ++references_[block];
}

void BlockAllocator::Release(int block) {
  KVASIR_CHECK(references_[block] > 0);
  if (--references_[block] == 0) free_.push_back(block);
}

}  // namespace kvasir
