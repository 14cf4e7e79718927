#ifndef KVASIR_ENGINE_CACHE_BLOCK_ALLOCATOR_H_
#define KVASIR_ENGINE_CACHE_BLOCK_ALLOCATOR_H_

#include <vector>

namespace kvasir {

// Reference counts of the KV pool's blocks, and the order in which free ones are handed out: those
// whose content is worth nothing first, the one freed last before the others, so that a pool
// touches no more memory than it needs; then those that are kept for their content, the one freed
// first before the others.
class BlockAllocator {
 public:
  explicit BlockAllocator(int num_blocks);

  // A block with one reference, or -1.
  int Allocate();
  // Takes a reference to any block, a free one too: its content is as it was.
  void AddReference(int block);
  // `keep`: if this frees the block, its content may be asked for again.
  // REQUIRES: the block has a reference.
  void Release(int block, bool keep = false);

  int references(int block) const { return references_[block]; }
  int total() const { return static_cast<int>(references_.size()); }
  int free() const { return free_; }
  int used() const { return total() - free(); }

 private:
  // The free blocks form a ring through one more node, number total().
  struct Link {
    int before, after;
  };
  void LinkAfter(int node, int block);
  void Unlink(int block);

  std::vector<int> references_;  // by block
  std::vector<Link> ring_;       // by node
  int free_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_CACHE_BLOCK_ALLOCATOR_H_
