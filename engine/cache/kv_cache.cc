#include "engine/cache/kv_cache.h"

#include <algorithm>

#include "engine/batch.h"
#include "engine/check.h"

namespace kvasir {

size_t KvCache::BlocksFor(size_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

bool KvCache::TailIsShared(const Session& session) const {
  return !session.blocks.empty() && allocator_.references(session.blocks.back()) > 1;
}

int KvCache::BlocksToReserve(const Session& session, size_t length) const {
  const bool writes_tail = length > session.cached && session.cached % kBlockTokens != 0;
  const int copies = writes_tail && TailIsShared(session) ? 1 : 0;
  return static_cast<int>(BlocksFor(length) - session.blocks.size()) + copies;
}

void KvCache::Reserve(Session& session, size_t length, std::vector<std::pair<int, int>>& copies) {
  KVASIR_CHECK(session.blocks.size() == BlocksFor(session.cached) && session.cached <= length);
  KVASIR_CHECK(BlocksToReserve(session, length) <= allocator_.free());
  if (length > session.cached && session.cached % kBlockTokens != 0 && TailIsShared(session)) {
    const int shared = session.blocks.back();
    session.blocks.back() = allocator_.Allocate();
    copies.emplace_back(shared, session.blocks.back());
    allocator_.Release(shared);
  }
  while (session.blocks.size() < BlocksFor(length)) session.blocks.push_back(allocator_.Allocate());
}

void KvCache::Truncate(Session& session, size_t length) {
  session.cached = std::min(session.cached, length);
  while (session.blocks.size() > BlocksFor(session.cached)) {
    allocator_.Release(session.blocks.back());
    session.blocks.pop_back();
  }
}

void KvCache::Share(const Session& source, size_t length, Session& fork) {
  KVASIR_CHECK(fork.blocks.empty());
  fork.cached = std::min(source.cached, length);
  fork.blocks.assign(source.blocks.begin(), source.blocks.begin() + BlocksFor(fork.cached));
  for (int block : fork.blocks) allocator_.AddReference(block);
}

bool KvCache::DropTail(Session& session) {
  KVASIR_CHECK(!session.blocks.empty());
  const bool freed = !TailIsShared(session);
  Truncate(session, (session.blocks.size() - 1) * kBlockTokens);
  return freed;
}

}  // namespace kvasir
