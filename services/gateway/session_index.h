#ifndef KVASIR_SERVICES_GATEWAY_SESSION_INDEX_H_
#define KVASIR_SERVICES_GATEWAY_SESSION_INDEX_H_

#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "services/gateway/token_table.h"

namespace kvasir::gateway {

// Which sessions of the model service hold what, so that a conversation that comes again, longer,
// goes on in the session that holds its beginning. Bounded: the one that was not used for longest
// falls out. A tenant, by the credentials that its calls carry, finds its own sessions only.
// Thread-safe.
//
// A session is found by hashes of what it holds up to the end of each added token, such as the
// <|im_end|> behind each message; then ids or, where those were cut otherwise, their bytes are
// compared.
class SessionIndex {
 public:
  // Fewer common tokens than this are not worth a fork.
  static constexpr size_t kLeastShared = 16;

  struct Session {
    std::string tenant;
    std::string id;
    bool ours = true;  // made by the gateway, to be deleted by it; else a client has named it
  };
  // What a conversation can begin with.
  struct Found {
    Session session;
    TokenIds ids;        // that it holds
    CommonPart common;   // of these and the conversation
    bool taken = false;  // nobody else gets the session until Put or Drop; else only to be forked
  };

  explicit SessionIndex(size_t capacity) : capacity_(capacity) {}

  // The session that has most in common with `wanted`. It is taken where it holds nothing else and
  // nobody has it.
  std::optional<Found> Find(const TokenTable& table, const std::string& tenant,
                            const TokenIds& wanted);
  // The session of this name, taken. Nothing where it is not known; `busy`: somebody has it.
  std::optional<Found> Take(const TokenTable& table, const std::string& tenant,
                            const std::string& id, const TokenIds& wanted, bool& busy);
  // Keeps a session that is not known yet for whoever made it, until Put or Drop. False: somebody
  // has taken that name.
  bool Claim(const Session& session);
  // It holds `ids` now, and others may have it. Returns what fell out and is to be deleted.
  std::vector<Session> Put(const TokenTable& table, const Session& session, TokenIds ids);
  // It is not known any more.
  void Drop(const Session& session);

  size_t size() const;

 private:
  using Key = std::pair<std::string, std::string>;  // tenant, id
  struct Entry {
    Session session;
    TokenIds ids;
    std::vector<uint64_t> hashes;  // under which it is in by_hash_
    bool busy = true;
    std::list<Key>::iterator use;
  };

  void Forget(std::map<Key, Entry>::iterator entry);
  void Unhash(const Key& key, Entry& entry);
  void Touch(Entry& entry) { uses_.splice(uses_.begin(), uses_, entry.use); }

  const size_t capacity_;
  mutable std::mutex mutex_;
  // guarded by mutex_
  std::map<Key, Entry> entries_;
  std::list<Key> uses_;  // the latest first
  std::unordered_multimap<uint64_t, Key> by_hash_;
};

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_SESSION_INDEX_H_
