#ifndef KVASIR_ENGINE_JOURNAL_REDIS_STORE_H_
#define KVASIR_ENGINE_JOURNAL_REDIS_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/journal/record_codec.h"
#include "engine/journal/redis_connection.h"
#include "engine/journal/redis_scripts.h"
#include "engine/journal/session_store.h"

namespace kvasir {

// Sessions in one Redis (tested with 7.0; no Cluster), shared by all replicas; redis_scripts.h says
// how they lie there. Every change is one script, so it happens wholly or not at all; all leases
// are by Redis' own clock.
//
// - A session is written by whoever acquired it last, and by nobody else: each Acquire gives a new
//   fence, to its own replica as well. So a write of which the store did not learn the outcome
//   (UNAVAILABLE) is either seen by the next Acquire or never happens.
// - A replica is known by its address alone: restarted under the same one it takes its sessions
//   back at once. Two replicas that were given the same address take sessions from each other all
//   the time, but do no harm to them.
// - A group of writes is one round trip; a write needs one before it where the session's last run
//   is not remembered or is cut away.
// - The password, where Redis wants one, goes over the connection in the clear.
class RedisStore : public SessionStore {
 public:
  // Asks Redis about its settings. UNAVAILABLE (STORE) where it cannot be reached.
  static absl::StatusOr<std::unique_ptr<RedisStore>> Open(const std::string& url,
                                                          const std::string& owner,
                                                          absl::Duration lease = kLease);

  bool shared() const override { return true; }
  std::string name() const override { return name_; }
  std::string warning() const override { return warning_; }
  absl::StatusOr<OwnedSession> Acquire(const std::string& id,
                                       std::optional<uint64_t> known) override;
  absl::StatusOr<StoredSession> Load(const std::string& id) override;
  absl::StatusOr<SessionRecord> LoadRecord(const std::string& id) override;
  void Write(std::span<SessionWrite> writes) override;
  absl::StatusOr<std::vector<std::string>> Renew(std::span<const Lease> leases) override;
  absl::Status Release(std::span<const Lease> leases) override;
  absl::StatusOr<Page> List(const std::string& after, const std::string& before, size_t count,
                            const std::map<std::string, std::string>& labels) override;
  absl::StatusOr<std::vector<std::string>> Expire(const std::set<std::string>& in_use) override;
  absl::StatusOr<uint64_t> Size() override;
  Counts counts() const override { return counts_; }

 private:
  // What is stored of a session that this replica has acquired, as of a version. `write` names
  // that state for good: versions begin anew when an id is deleted and created again.
  struct Known {
    uint64_t version = 0;
    std::string write;
    std::optional<TokenRun> last_run;  // none where there are no tokens
  };
  // The run that holds token keep - 1 of a session, and how many lie behind it.
  struct Tail {
    TokenRun run;
    size_t behind = 0;
  };
  // A write on its way.
  struct Pending {
    SessionWrite* write = nullptr;
    std::string name;  // of this write, as no other one's
    std::optional<Tail> tail;
    std::optional<TokenRun> last_run;  // after it
  };

  RedisStore(RedisUrl url, std::string owner, absl::Duration lease);

  absl::Status ReadSettings();
  absl::StatusOr<RedisReply> RunOne(RedisCall call);
  // What a script that reads one session answers.
  absl::StatusOr<RedisReply> Read(const std::string& id, RedisScript script);
  absl::Status DeleteDamaged(const std::string& id);
  // `due_at`: Redis' time in microseconds, where the idle time has run out by its count; else
  // empty.
  absl::StatusOr<DecodedRecord> Decode(const std::string& id, std::string_view bytes,
                                       std::string_view version, std::string_view due_at);
  absl::StatusOr<std::vector<int>> DecodeRuns(const DecodedRecord& record, const redisReply& runs);
  absl::StatusOr<std::vector<std::string>> SetLeases(std::span<const Lease> leases,
                                                     absl::Duration lease);
  // Sets `tail` of those that need one, or the write's status.
  void FindTails(std::vector<Pending>& pending);
  absl::StatusOr<std::optional<Tail>> FindTail(const Pending& pending, const redisReply& reply,
                                               size_t asked);
  // The call of a write; or its status is set.
  std::optional<RedisCall> CallOf(Pending& pending);
  void Conclude(Pending& pending, const redisReply& reply);
  absl::Status StatusOf(const std::string& id, const redisReply& reply) const;
  void Remember(const std::string& id, Known known);
  std::string LeaseMs() const;

  RedisConnection connection_;
  const std::string name_;
  const std::string owner_;
  const absl::Duration lease_;
  const std::string life_;  // of this object: begins the names of its writes
  uint64_t writes_ = 0;
  std::string warning_;
  std::map<std::string, Known> known_;
  Counts counts_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_JOURNAL_REDIS_STORE_H_
