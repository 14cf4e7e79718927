// Three replicas that know nothing of each other, against a model of what Redis should let through.
#include <array>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/journal/redis_store.h"
#include "gtest/gtest.h"
#include "tests/engine/journal/random_sessions.h"
#include "tests/engine/journal/redis_server.h"
#include "tests/engine/journal/session_holder.h"

namespace kvasir {
namespace {

using testing::RedisServer;
using testing::SessionHolder;

using Tokens = std::vector<int>;

constexpr int kReplicas = 3;
constexpr int kSteps = 4000;
constexpr char kId[] = "shared";

// The session as it should be. A state is the version and the life: ids may be used again.
struct Model {
  bool exists = false;
  int life = 0;
  uint64_t version = 0;
  Tokens tokens;
  int owner = -1;        // who acquired it last
  bool is_held = false;  // the lease has not ended
};

struct Replica {
  std::unique_ptr<RedisStore> store;
  std::optional<SessionHolder> holder;
  int life = 0;             // of the session that it believes in
  bool is_current = false;  // it was the last to acquire that session
};

class Interleaving {
 public:
  explicit Interleaving(uint64_t seed) : random_(seed) {
    for (int i = 0; i < kReplicas; ++i) {
      auto store = RedisStore::Open(server_.url(), Address(i), absl::Minutes(10));
      EXPECT_TRUE(store.ok()) << store.status();
      replicas_[i].store = *std::move(store);
      replicas_[i].holder.emplace(*replicas_[i].store, kId);
    }
  }

  void Run() {
    for (int step = 0; step < kSteps && !::testing::Test::HasFailure(); ++step) {
      SCOPED_TRACE(step);
      const int who = Below(kReplicas);
      switch (Below(12)) {
        case 0:
          Create(who);
          break;
        case 1:
        case 2:
        case 3:
          Acquire(who);
          break;
        case 4:
          Release(who);
          break;
        case 5:
          server_.Run({"EVAL",
                       "if redis.call('EXISTS', KEYS[1]) == 1 then "
                       "redis.call('HSET', KEYS[1], 'lease_until', '1') end return 0",
                       "1", "kvasir:s:shared:record"});
          model_.is_held = false;
          break;
        case 6:
          Renew(who);
          break;
        case 7:
          if (Below(8) == 0) Delete(who);
          break;
        default:
          Change(who);
      }
      CheckStored(who);
    }
    EXPECT_GT(written_, kSteps / 20);
    EXPECT_GT(refused_, kSteps / 20);
  }

 private:
  static std::string Address(int who) { return "replica-" + std::to_string(who) + ":50052"; }
  int Below(int end) { return static_cast<int>(random_() % end); }

  bool MayWrite(const Replica& replica) const {
    return model_.exists && replica.is_current && replica.life == model_.life &&
           replica.holder->record.version == model_.version;
  }
  void Own(int who) {
    for (Replica& replica : replicas_) replica.is_current = false;
    replicas_[who].is_current = true;
    replicas_[who].life = model_.life;
    model_.owner = who;
    model_.is_held = true;
  }

  void Create(int who) {
    const Tokens first = testing::RandomTokens(Below(300), random_);
    // What it believes stays, if the id is taken.
    SessionHolder holder(*replicas_[who].store, kId);
    const auto status = holder.Create(first);
    if (model_.exists) {
      EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
      return;
    }
    ASSERT_TRUE(status.ok()) << status;
    replicas_[who].holder = holder;
    model_ = {.exists = true, .life = model_.life + 1, .version = 1, .tokens = first};
    Own(who);
  }

  void Acquire(int who) {
    Replica& replica = replicas_[who];
    SessionHolder& holder = *replica.holder;
    const bool knows = holder.record.version > 0 && Below(2) == 0;
    const auto session = replica.store->Acquire(
        kId, knows ? std::optional<uint64_t>(holder.record.version) : std::nullopt);
    if (!model_.exists) {
      EXPECT_TRUE(absl::IsNotFound(session.status())) << session.status();
    } else if (model_.is_held && model_.owner != who) {
      EXPECT_EQ(DetailOf(session.status()).metadata["owner"], Address(model_.owner));
    } else {
      ASSERT_TRUE(session.ok()) << session.status();
      EXPECT_EQ(session->taken_over, model_.owner != who);
      if (session->tokens) holder.tokens = *session->tokens;
      EXPECT_TRUE(holder.tokens == model_.tokens) << "given or believed";
      holder.record = session->record;
      holder.fence = session->fence;
      EXPECT_EQ(holder.record.version, model_.version);
      Own(who);
    }
  }

  void Release(int who) {
    ASSERT_TRUE(replicas_[who].holder->Release().ok());
    if (model_.exists && replicas_[who].is_current && replicas_[who].life == model_.life) {
      model_.is_held = false;
    }
  }

  void Renew(int who) {
    Replica& replica = replicas_[who];
    const SessionStore::Lease lease = {kId, replica.holder->fence};
    const auto lost = replica.store->Renew({&lease, 1});
    ASSERT_TRUE(lost.ok()) << lost.status();
    const bool has_it = model_.exists && replica.is_current && replica.life == model_.life;
    EXPECT_EQ(lost->empty(), has_it);
    if (has_it) model_.is_held = true;
  }

  void Delete(int who) {
    Replica& replica = replicas_[who];
    if (replica.holder->record.version == 0) return;  // it knows of none
    const bool may = MayWrite(replica);
    const auto status = replica.holder->Delete();
    EXPECT_EQ(status.ok(), may) << status;
    EXPECT_TRUE(status.ok() || absl::IsAborted(status)) << status;
    if (may) model_.exists = false;
  }

  // What is written differs, so that a write which goes through wrongly is seen.
  void Change(int who) {
    Replica& replica = replicas_[who];
    SessionHolder& holder = *replica.holder;
    if (holder.record.version == 0) return;
    const bool may = MayWrite(replica);
    const size_t length = holder.tokens.size();
    const size_t keep = Below(4) == 0 ? Below(static_cast<int>(length) + 1) : length;
    const size_t longest = Below(20) == 0 ? 6000 : 40;
    const auto status =
        holder.Change(keep, testing::RandomTokens(Below(static_cast<int>(longest)), random_));
    EXPECT_EQ(status.ok(), may) << status;
    EXPECT_TRUE(status.ok() || absl::IsAborted(status)) << status;
    ++(may ? written_ : refused_);
    if (!may) return;
    model_.tokens = holder.tokens;
    ++model_.version;
    model_.is_held = true;
  }

  void CheckStored(int who) {
    const auto session = replicas_[who].store->Load(kId);
    ASSERT_EQ(session.ok(), model_.exists) << session.status();
    if (!model_.exists) return;
    EXPECT_EQ(session->record.version, model_.version);
    EXPECT_TRUE(session->tokens == model_.tokens);
  }

  std::mt19937_64 random_;
  RedisServer server_;
  std::array<Replica, kReplicas> replicas_;
  Model model_;
  int written_ = 0, refused_ = 0;
};

TEST(RedisInterleaving, OnlyTheLastToAcquireWrites) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    Interleaving(seed).Run();
  }
}

}  // namespace
}  // namespace kvasir
