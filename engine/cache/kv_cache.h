#ifndef KVASIR_ENGINE_CACHE_KV_CACHE_H_
#define KVASIR_ENGINE_CACHE_KV_CACHE_H_

#include <cstddef>
#include <utility>
#include <vector>

#include "engine/cache/block_allocator.h"
#include "engine/cache/session.h"

namespace kvasir {

// Which blocks hold whose tokens. Knows nothing of the bytes in them.
class KvCache {
 public:
  explicit KvCache(int num_blocks) : allocator_(num_blocks) {}

  static size_t BlocksFor(size_t tokens);

  // New blocks that Reserve(session, length) would take.
  int BlocksToReserve(const Session& session, size_t length) const;
  // Makes room for tokens[cached, length). A shared block is never written: where the first of
  // them falls into one, it is replaced by a copy, and (from, to) appended to `copies`.
  // REQUIRES: session.cached <= length; BlocksToReserve() blocks are free.
  void Reserve(Session& session, size_t length, std::vector<std::pair<int, int>>& copies);

  // Forgets K and V from `length` on (nothing where less is cached).
  void Truncate(Session& session, size_t length);
  // `fork` shares what `source` has cached of its first `length` tokens. REQUIRES: fork has none.
  void Share(const Session& source, size_t length, Session& fork);
  // Drops the last block; returns whether that freed it.
  bool DropTail(Session& session);
  bool TailIsShared(const Session& session) const;

  const BlockAllocator& allocator() const { return allocator_; }

 private:
  BlockAllocator allocator_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_CACHE_KV_CACHE_H_
