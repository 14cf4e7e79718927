#include "services/gateway/session_index.h"

#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace kvasir::gateway {
namespace {

// Sessions that are compared in full for one conversation.
constexpr int kMostCompared = 16;

// Of what `ids` stand for, up to the end of each added token; of one tenant.
std::vector<uint64_t> Hashes(const TokenTable& table, const std::string& tenant,
                             const TokenIds& ids) {
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(),
                                                                              XXH3_freeState);
  XXH3_64bits_reset_withSeed(state.get(), XXH3_64bits(tenant.data(), tenant.size()));
  std::vector<uint64_t> hashes;
  for (const uint32_t id : ids) {
    if (table.IsAdded(id)) {
      // No text has this byte.
      const unsigned char mark = 0xFF;
      XXH3_64bits_update(state.get(), &mark, 1);
      XXH3_64bits_update(state.get(), &id, sizeof(id));
      hashes.push_back(XXH3_64bits_digest(state.get()));
    } else {
      const std::string_view bytes = table.bytes(id);
      XXH3_64bits_update(state.get(), bytes.data(), bytes.size());
    }
  }
  return hashes;
}

}  // namespace

std::optional<SessionIndex::Found> SessionIndex::Find(const TokenTable& table,
                                                      const std::string& tenant,
                                                      const TokenIds& wanted) {
  const std::vector<uint64_t> hashes = Hashes(table, tenant, wanted);
  const std::lock_guard lock(mutex_);
  Entry* best = nullptr;
  CommonPart common;
  bool whole = false;  // best holds nothing else
  int compared = 0;
  for (auto hash = hashes.rbegin(); hash != hashes.rend() && best == nullptr; ++hash) {
    const auto [begin, end] = by_hash_.equal_range(*hash);
    for (auto at = begin; at != end && compared < kMostCompared; ++at) {
      if (at->second.first != tenant) continue;
      Entry& entry = entries_.at(at->second);
      const CommonPart part = FindCommonPart(table, entry.ids, wanted);
      ++compared;
      const bool is_whole = part.held == entry.ids.size() && !entry.busy;
      if (part.wanted < kLeastShared && !is_whole) continue;
      const bool better = best == nullptr || part.wanted > common.wanted ||
                          (part.wanted == common.wanted && is_whole && !whole);
      if (!better) continue;
      best = &entry;
      common = part;
      whole = is_whole;
    }
  }
  if (best == nullptr) return std::nullopt;
  Touch(*best);
  if (whole) best->busy = true;
  return Found{best->session, best->ids, common, whole};
}

std::optional<SessionIndex::Found> SessionIndex::Take(const TokenTable& table,
                                                      const std::string& tenant,
                                                      const std::string& id, const TokenIds& wanted,
                                                      bool& busy) {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find({tenant, id});
  busy = entry != entries_.end() && entry->second.busy;
  if (entry == entries_.end() || busy) return std::nullopt;
  entry->second.busy = true;
  Touch(entry->second);
  return Found{entry->second.session, entry->second.ids,
               FindCommonPart(table, entry->second.ids, wanted), true};
}

bool SessionIndex::Claim(const Session& session) {
  const std::lock_guard lock(mutex_);
  const auto [entry, made] = entries_.try_emplace({session.tenant, session.id});
  if (!made) return false;
  uses_.push_front(entry->first);
  entry->second.session = session;
  entry->second.use = uses_.begin();
  return true;
}

std::vector<SessionIndex::Session> SessionIndex::Put(const TokenTable& table,
                                                     const Session& session, TokenIds ids) {
  std::vector<uint64_t> hashes = Hashes(table, session.tenant, ids);
  const std::lock_guard lock(mutex_);
  std::vector<Session> fell_out;
  const auto found = entries_.find({session.tenant, session.id});
  if (found == entries_.end()) return fell_out;
  Entry& entry = found->second;
  Unhash(found->first, entry);
  entry.ids = std::move(ids);
  entry.hashes = std::move(hashes);
  entry.busy = false;
  for (const uint64_t hash : entry.hashes) by_hash_.emplace(hash, found->first);
  Touch(entry);
  for (auto use = uses_.end(); entries_.size() > capacity_ && use != uses_.begin();) {
    const auto oldest = entries_.find(*--use);
    if (oldest->second.busy) continue;
    if (oldest->second.session.ours) fell_out.push_back(oldest->second.session);
    ++use;  // its own place goes
    Forget(oldest);
  }
  return fell_out;
}

void SessionIndex::Drop(const Session& session) {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find({session.tenant, session.id});
  if (entry != entries_.end()) Forget(entry);
}

size_t SessionIndex::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

void SessionIndex::Forget(std::map<Key, Entry>::iterator entry) {
  Unhash(entry->first, entry->second);
  uses_.erase(entry->second.use);
  entries_.erase(entry);
}

void SessionIndex::Unhash(const Key& key, Entry& entry) {
  for (const uint64_t hash : entry.hashes) {
    const auto [begin, end] = by_hash_.equal_range(hash);
    const auto at = std::find_if(begin, end, [&](const auto& pair) { return pair.second == key; });
    if (at != end) by_hash_.erase(at);
  }
  entry.hashes.clear();
}

}  // namespace kvasir::gateway
