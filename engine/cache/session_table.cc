#include "engine/cache/session_table.h"

#include <algorithm>

#include "engine/check.h"

namespace kvasir {

Session* SessionTable::Find(const std::string& id) {
  const auto it = sessions_.find(id);
  return it == sessions_.end() ? nullptr : it->second.get();
}

Session& SessionTable::Insert(std::unique_ptr<Session> session) {
  Session& inserted = *session;
  KVASIR_CHECK(sessions_.emplace(inserted.id, std::move(session)).second);
  Unpin(inserted);
  return inserted;
}

void SessionTable::Erase(Session& session) {
  KVASIR_CHECK(!session.busy);
  Pin(session);
  cache_.Truncate(session, 0);
  sessions_.erase(session.id);
}

void SessionTable::Pin(Session& session) {
  if (!session.idle) return;
  ListOf(session).erase(*session.idle);
  session.idle.reset();
}

void SessionTable::Unpin(Session& session) {
  Pin(session);
  session.bare = false;  // as far as is known: Evict looks
  session.idle = evictable_.insert(evictable_.end(), &session);
}

bool SessionTable::Evict(int blocks) {
  return EvictUntil([&] { return cache_.allocator().free() >= blocks; }, nullptr);
}

bool SessionTable::EvictDownTo(int blocks, const std::string& tenant) {
  return EvictUntil([&] { return cache_.held(tenant) <= blocks; }, &tenant);
}

template <typename Done>
bool SessionTable::EvictUntil(Done done, const std::string* tenant) {
  for (const bool take_shared : {false, true}) {
    for (auto it = evictable_.begin(); it != evictable_.end() && !done();) {
      Session& session = **(it++);
      if (tenant != nullptr && session.tenant != *tenant) continue;
      while (!done() && !session.blocks.empty() && (take_shared || !cache_.TailIsShared(session))) {
        cache_.DropTail(session);
        ++evicted_blocks_;
      }
      if (!session.blocks.empty()) continue;
      session.bare = true;
      bare_.splice(bare_.end(), evictable_, *session.idle);
    }
  }
  return done();
}

std::optional<absl::Time> SessionTable::Expire(absl::Time now,
                                               const std::function<void(const Session&)>& expired) {
  std::optional<absl::Time> next;
  for (auto it = sessions_.begin(); it != sessions_.end();) {
    Session& session = *(it++)->second;
    const std::optional<absl::Time> expires = ExpireTime(session);
    if (!expires || session.busy) continue;
    if (*expires <= now) {
      expired(session);
      Erase(session);
    } else {
      next = next ? std::min(*next, *expires) : *expires;
    }
  }
  return next;
}

void SessionTable::EraseIdle(absl::Time before) {
  for (std::list<Session*>* list : {&evictable_, &bare_}) {
    for (auto it = list->begin(); it != list->end();) {
      Session& session = **(it++);
      if (session.last_use_time >= before) break;  // least recently used first
      if (!session.busy) Erase(session);
    }
  }
}

std::optional<absl::Time> SessionTable::least_recent_use() const {
  std::optional<absl::Time> least;
  for (const std::list<Session*>* list : {&evictable_, &bare_}) {
    if (list->empty()) continue;
    const absl::Time use = list->front()->last_use_time;
    least = std::min(least.value_or(use), use);
  }
  return least;
}

SessionTable::Page SessionTable::List(const std::string& after, const std::string& before,
                                      size_t count,
                                      const std::map<std::string, std::string>& labels) const {
  Page page;
  auto it = sessions_.upper_bound(after);
  for (size_t examined = 0; it != sessions_.end(); ++it, ++examined) {
    if (!before.empty() && it->first >= before) break;
    if (page.sessions.size() >= count || examined >= kMostExamined) {
      page.next = std::prev(it)->first;
      break;
    }
    if (HasLabels(*it->second, labels)) page.sessions.push_back(it->second.get());
  }
  return page;
}

}  // namespace kvasir
