#ifndef KVASIR_ENGINE_CACHE_BLOCK_ALLOCATOR_H_
#define KVASIR_ENGINE_CACHE_BLOCK_ALLOCATOR_H_

#include <vector>

namespace kvasir {

// Reference counts of the KV pool's blocks. The block freed last is handed out first, so that a
// pool touches no more memory than it once needed.
class BlockAllocator {
 public:
  explicit BlockAllocator(int num_blocks);

  // A block with one reference, or -1.
  int Allocate();
  // REQUIRES (both): the block has a reference.
  void AddReference(int block);
  void Release(int block);

  int references(int block) const { return references_[block]; }
  int total() const { return static_cast<int>(references_.size()); }
  int free() const { return static_cast<int>(free_.size()); }
  int used() const { return total() - free(); }

 private:
  std::vector<int> references_;  // by block
  std::vector<int> free_;        // a stack
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_CACHE_BLOCK_ALLOCATOR_H_
