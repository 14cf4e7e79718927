#ifndef KVASIR_ENGINE_CACHE_KV_CACHE_H_
#define KVASIR_ENGINE_CACHE_KV_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "engine/cache/block_allocator.h"
#include "engine/cache/host_tier.h"
#include "engine/cache/prefix_index.h"
#include "engine/cache/session.h"

namespace kvasir {

// Which blocks hold whose tokens. Knows nothing of the bytes in them.
//
// Full blocks that begin alike are shared between the sessions of a tenant: since a row's bits are
// a function of its sequence and position alone (invariant I1), whoever computed them. By the same
// argument a copy in the host's memory is as good: what the pool is about to overwrite is saved
// there, and comes back when somebody's tokens ask for it. Sessions know nothing of that.
class KvCache {
 public:
  // Without a secret no session finds another's blocks.
  // REQUIRES: host_blocks == 0, or there is a secret.
  explicit KvCache(int num_blocks, std::optional<uint64_t> prefix_secret = std::nullopt,
                   int host_blocks = 0);

  static size_t BlocksFor(size_t tokens);

  // New blocks that Reserve(session, length) would take.
  int BlocksToReserve(const Session& session, size_t length) const;
  // Makes room for tokens[cached, length). A shared block is never written: where the first of
  // them falls into one, it is replaced by a copy. What has to be copied is appended to `copies`,
  // which must be made in their order, all of them, before anything is computed.
  // REQUIRES: session.cached <= length; BlocksToReserve() blocks are free.
  void Reserve(Session& session, size_t length, std::vector<BlockCopy>& copies);

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
  // As Adopt, and brings back into free blocks what the host's memory holds, as far as they go.
  void Restore(Session& session, size_t limit, std::vector<BlockCopy>& copies);
  // Nobody finds what has been published so far.
  void ForgetPublished();

  // Drops the last block; returns whether that freed it.
  bool DropTail(Session& session);
  bool TailIsShared(const Session& session) const;

  // Blocks that the sessions of a tenant hold, those that they share counted once: with another
  // tenant none is shared.
  int held(const std::string& tenant) const;

  struct Usage {
    int running = 0;  // blocks of the sessions that were named
    int cached = 0;   // nobody's blocks, which are found again until someone needs the room
  };
  // Looks at every block.
  Usage CountBlocks(std::span<const Session* const> running);

  const BlockAllocator& allocator() const { return allocator_; }
  // Blocks copied to and from the host's memory.
  uint64_t saved_blocks() const { return saved_blocks_; }
  uint64_t restored_blocks() const { return restored_blocks_; }

 private:
  int Allocate(std::vector<BlockCopy>& copies);
  // The block's content is about to change: saves what others may ask for.
  void Forget(int block, std::vector<BlockCopy>& copies);
  // Restores the block that ends the prefix `key`; returns -1 where it is not held or none is free.
  int RestoreBlock(PrefixIndex::Key key, PrefixIndex::Tokens tokens,
                   std::vector<BlockCopy>& copies);
  // Adopt; where `copies` is not null Restore.
  void TakeBlocks(Session& session, size_t limit, std::vector<BlockCopy>* copies);
  // Returns whether the block is free now.
  bool Release(int block);
  void CountHeld(const Session& session, int more);
  PrefixIndex::Key KeyBefore(const Session& session, size_t block) const;

  BlockAllocator allocator_;
  std::optional<PrefixIndex> index_;
  std::optional<HostTier> host_;     // only with an index
  std::map<std::string, int> held_;  // blocks by tenant; of those that hold some
  std::vector<bool> marked_;         // [blocks], scratch of CountBlocks
  uint64_t saved_blocks_ = 0;
  uint64_t restored_blocks_ = 0;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_CACHE_KV_CACHE_H_
