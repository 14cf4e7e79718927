#ifndef KVASIR_ENGINE_CACHE_SESSION_TABLE_H_
#define KVASIR_ENGINE_CACHE_SESSION_TABLE_H_

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "engine/cache/kv_cache.h"
#include "engine/cache/session.h"

namespace kvasir {

// All named sessions, and which of them may lose blocks: every session that no running call uses,
// least recently used first.
class SessionTable {
 public:
  explicit SessionTable(KvCache& cache) : cache_(cache) {}

  // Null where there is none.
  Session* Find(const std::string& id);
  // REQUIRES: the id is new.
  Session& Insert(std::unique_ptr<Session> session);
  // Frees its blocks. REQUIRES: not busy.
  void Erase(Session& session);

  // A running call starts or stops using the session's blocks. Touches make it most recent.
  void Pin(Session& session);
  void Unpin(Session& session);

  // Evicts until `blocks` are free: tail blocks that no one shares first, oldest session first,
  // then shared ones. False where all that may go has gone and that is not enough.
  bool Evict(int blocks);
  // The same among one tenant's sessions, until all that it has hold no more than `blocks`.
  bool EvictDownTo(int blocks, const std::string& tenant);
  uint64_t evicted_blocks() const { return evicted_blocks_; }

  // Erases the sessions whose idle time has run out, each after `expired` was told, and tells when
  // the next one will.
  std::optional<absl::Time> Expire(absl::Time now,
                                   const std::function<void(const Session&)>& expired);

  // Erases those that nobody has used since `before`.
  void EraseIdle(absl::Time before);

  struct Page {
    std::vector<const Session*> sessions;
    std::string next;  // the next page begins after it; empty: this is the last
  };
  // Up to `count` sessions with ids after `after` and before `before` (empty: all), carrying all of
  // `labels`, ordered by id. Looks at kMostExamined.
  Page List(const std::string& after, const std::string& before, size_t count,
            const std::map<std::string, std::string>& labels) const;
  size_t size() const { return sessions_.size(); }
  // When the one was used that nobody has used for longest; nothing where calls run on all.
  std::optional<absl::Time> least_recent_use() const;

 private:
  // Until done(). `tenant`: null: anybody's.
  template <typename Done>
  bool EvictUntil(Done done, const std::string* tenant);
  std::list<Session*>& ListOf(const Session& session) { return session.bare ? bare_ : evictable_; }

  KvCache& cache_;
  std::map<std::string_view, std::unique_ptr<Session>> sessions_;  // by their own ids
  // Those that no running call uses, least recently used first. Whom Evict has found without blocks
  // is bare, and gets some only once it is pinned: it is not looked at again, since there may be
  // very many of them.
  std::list<Session*> evictable_, bare_;
  uint64_t evicted_blocks_ = 0;
};

// When an idle session expires.
inline std::optional<absl::Time> ExpireTime(const SessionMetadata& session) {
  if (!session.ttl) return std::nullopt;
  return session.last_use_time + *session.ttl;
}

}  // namespace kvasir

#endif  // KVASIR_ENGINE_CACHE_SESSION_TABLE_H_
