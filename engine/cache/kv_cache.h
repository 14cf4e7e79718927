#ifndef KVASIR_ENGINE_CACHE_KV_CACHE_H_
#define KVASIR_ENGINE_CACHE_KV_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "engine/cache/block_allocator.h"
#include "engine/cache/prefix_index.h"
#include "engine/cache/session.h"

namespace kvasir {

// Which blocks hold whose tokens. Knows nothing of the bytes in them.
//
// Full blocks that begin alike are shared between the sessions of a tenant: since a row's bits are
// a function of its sequence and position alone (invariant I1), whoever computed them.
class KvCache {
 public:
  // Without a secret no session finds another's blocks.
  explicit KvCache(int num_blocks, std::optional<uint64_t> prefix_secret = std::nullopt);

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
  // Makes the session's full blocks known to others of its tenant. To be called when `cached` has
  // grown.
  void Publish(const Session& session);
  // Takes blocks that others have computed for what comes behind `cached`, at most `limit` tokens
  // in all. REQUIRES: limit <= session.tokens.size().
  void Adopt(Session& session, size_t limit);
  // Nobody finds what has been published so far.
  void ForgetPublished();

  // Drops the last block; returns whether that freed it.
  bool DropTail(Session& session);
  bool TailIsShared(const Session& session) const;

  const BlockAllocator& allocator() const { return allocator_; }

 private:
  int Allocate();
  void Release(int block);
  PrefixIndex::Key KeyBefore(const Session& session, size_t block) const;

  BlockAllocator allocator_;
  std::optional<PrefixIndex> index_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_CACHE_KV_CACHE_H_
