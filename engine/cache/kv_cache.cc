#include "engine/cache/kv_cache.h"

#include <algorithm>
#include <utility>

#include "engine/batch.h"
#include "engine/check.h"

namespace kvasir {

namespace {

PrefixIndex::Tokens TokensOf(const Session& session, size_t block) {
  return PrefixIndex::Tokens(session.tokens.data() + block * kBlockTokens, kBlockTokens);
}

}  // namespace

KvCache::KvCache(int num_blocks, std::optional<uint64_t> prefix_secret, int host_blocks)
    : allocator_(num_blocks), marked_(num_blocks) {
  KVASIR_CHECK(host_blocks == 0 || prefix_secret);
  if (prefix_secret) index_.emplace(num_blocks, *prefix_secret);
  if (host_blocks > 0) host_.emplace(host_blocks);
}

int KvCache::Allocate(std::vector<BlockCopy>& copies) {
  const int block = allocator_.Allocate();
  Forget(block, copies);
  return block;
}

void KvCache::Forget(int block, std::vector<BlockCopy>& copies) {
  if (!index_) return;
  if (host_ && index_->listed(block)) {
    const int place = host_->Add(index_->key(block), index_->tokens(block));
    if (place >= 0) {
      copies.push_back({block, place, BlockCopy::Way::kToHost});
      ++saved_blocks_;
    }
  }
  index_->Erase(block);
}

bool KvCache::Release(int block) {
  const bool keep = index_ && index_->listed(block);
  allocator_.Release(block, keep);
  const bool freed = allocator_.references(block) == 0;
  if (index_ && !keep && freed) index_->Erase(block);
  return freed;
}

void KvCache::CountHeld(const Session& session, int more) {
  if (more == 0) return;
  const auto held = held_.try_emplace(session.tenant).first;
  held->second += more;
  KVASIR_CHECK(held->second >= 0);
  if (held->second == 0) held_.erase(held);
}

int KvCache::held(const std::string& tenant) const {
  const auto found = held_.find(tenant);
  return found != held_.end() ? found->second : 0;
}

size_t KvCache::BlocksFor(size_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

bool KvCache::TailIsShared(const Session& session) const {
  return !session.blocks.empty() && allocator_.references(session.blocks.back()) > 1;
}

int KvCache::BlocksToReserve(const Session& session, size_t length) const {
  const bool writes_tail = length > session.cached && session.cached % kBlockTokens != 0;
  const int copies = writes_tail && TailIsShared(session) ? 1 : 0;
  return static_cast<int>(BlocksFor(length) - session.blocks.size()) + copies;
}

void KvCache::Reserve(Session& session, size_t length, std::vector<BlockCopy>& copies) {
  KVASIR_CHECK(session.blocks.size() == BlocksFor(session.cached) && session.cached <= length);
  KVASIR_CHECK(BlocksToReserve(session, length) <= allocator_.free());
  const int free = allocator_.free();
  if (length > session.cached && session.cached % kBlockTokens != 0) {
    int& tail = session.blocks.back();
    if (TailIsShared(session)) {
      const int shared = std::exchange(tail, Allocate(copies));
      copies.push_back({shared, tail, BlockCopy::Way::kInPool});
      Release(shared);
    } else {
      Forget(tail, copies);  // it was full once; what is behind `cached` changes now
    }
  }
  while (session.blocks.size() < BlocksFor(length)) session.blocks.push_back(Allocate(copies));
  CountHeld(session, free - allocator_.free());
}

void KvCache::Truncate(Session& session, size_t length) {
  session.cached = std::min(session.cached, length);
  int freed = 0;
  while (session.blocks.size() > BlocksFor(session.cached)) {
    freed += Release(session.blocks.back()) ? 1 : 0;
    session.blocks.pop_back();
  }
  CountHeld(session, -freed);
}

void KvCache::Share(const Session& source, size_t length, Session& fork) {
  KVASIR_CHECK(fork.blocks.empty());
  fork.cached = std::min(source.cached, length);
  fork.blocks.assign(source.blocks.begin(), source.blocks.begin() + BlocksFor(fork.cached));
  for (int block : fork.blocks) allocator_.AddReference(block);
}

PrefixIndex::Key KvCache::KeyBefore(const Session& session, size_t block) const {
  return block == 0 ? index_->Root(session.tenant) : index_->key(session.blocks[block - 1]);
}

void KvCache::Publish(const Session& session) {
  if (!index_) return;
  const size_t full = session.cached / kBlockTokens;
  size_t block = full;  // all blocks before one that has a key have theirs
  while (block > 0 && !index_->has_key(session.blocks[block - 1])) --block;
  for (; block < full; ++block) {
    const PrefixIndex::Tokens tokens = TokensOf(session, block);
    index_->Insert(session.blocks[block], index_->Extend(KeyBefore(session, block), tokens),
                   tokens);
  }
}

void KvCache::Adopt(Session& session, size_t limit) { TakeBlocks(session, limit, nullptr); }

void KvCache::Restore(Session& session, size_t limit, std::vector<BlockCopy>& copies) {
  TakeBlocks(session, limit, &copies);
}

void KvCache::TakeBlocks(Session& session, size_t limit, std::vector<BlockCopy>* copies) {
  if (!index_ || session.cached % kBlockTokens != 0) return;
  Publish(session);  // so that its own blocks have keys
  const int free = allocator_.free();
  while (session.cached + kBlockTokens <= limit) {
    const PrefixIndex::Tokens tokens = TokensOf(session, session.blocks.size());
    const PrefixIndex::Key key = index_->Extend(KeyBefore(session, session.blocks.size()), tokens);
    int block = index_->Find(key, tokens);
    if (block >= 0) {
      allocator_.AddReference(block);
    } else if (copies != nullptr) {
      block = RestoreBlock(key, tokens, *copies);
    }
    if (block < 0) break;
    session.blocks.push_back(block);
    session.cached += kBlockTokens;
  }
  CountHeld(session, free - allocator_.free());
}

int KvCache::RestoreBlock(PrefixIndex::Key key, PrefixIndex::Tokens tokens,
                          std::vector<BlockCopy>& copies) {
  if (!host_ || allocator_.free() == 0) return -1;
  const int place = host_->Find(key, tokens);
  if (place < 0) return -1;
  host_->Hold(place);  // what the new block held must not be saved there
  const int block = Allocate(copies);
  host_->Release(place);
  copies.push_back({place, block, BlockCopy::Way::kFromHost});
  ++restored_blocks_;
  index_->Insert(block, key, tokens);
  return block;
}

void KvCache::ForgetPublished() {
  if (!index_) return;
  if (host_) host_->Clear();
  for (int block = 0; block < allocator_.total(); ++block) index_->Erase(block);
}

KvCache::Usage KvCache::CountBlocks(std::span<const Session* const> running) {
  marked_.assign(marked_.size(), false);
  for (const Session* session : running) {
    for (int block : session->blocks) marked_[block] = true;
  }
  Usage usage;
  for (int block = 0; block < allocator_.total(); ++block) {
    if (marked_[block]) ++usage.running;
    if (allocator_.references(block) == 0 && index_ && index_->listed(block)) ++usage.cached;
  }
  return usage;
}

bool KvCache::DropTail(Session& session) {
  KVASIR_CHECK(!session.blocks.empty());
  const bool freed = !TailIsShared(session);
  Truncate(session, (session.blocks.size() - 1) * kBlockTokens);
  return freed;
}

}  // namespace kvasir
