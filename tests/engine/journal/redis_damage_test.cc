// Whatever is wrong with what lies in Redis: a session is read as it was written, or not at all.
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/error.h"
#include "engine/journal/redis_store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/journal/random_sessions.h"
#include "tests/engine/journal/redis_server.h"
#include "tests/engine/journal/session_holder.h"

namespace kvasir {
namespace {

using testing::RedisServer;
using testing::SessionHolder;

using Tokens = std::vector<int>;

const char kRecord[] = "kvasir:s:s:record";
const char kRuns[] = "kvasir:s:s:runs";

class RedisDamageTest : public ::testing::Test {
 protected:
  RedisDamageTest() : store_(Open("a:1")), other_(Open("b:1")) { StartAnew(); }

  std::unique_ptr<RedisStore> Open(const std::string& owner) {
    auto store = RedisStore::Open(server_.url(), owner, absl::Minutes(10));
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }

  // Two sessions; "s" has three runs.
  void StartAnew() {
    server_.Run({"FLUSHDB"});
    holder_ = SessionHolder(*store_, "s");
    holder_.record = testing::RandomRecord("s", random_);
    bystander_ = SessionHolder(*store_, "t");
    ASSERT_TRUE(holder_.Create(testing::RandomTokens(300, random_)).ok());
    ASSERT_TRUE(holder_.Append(testing::RandomTokens(300, random_)).ok());
    ASSERT_TRUE(holder_.Append(testing::RandomTokens(40, random_)).ok());
    ASSERT_TRUE(bystander_.Create({1, 2}).ok());
  }

  static void ExpectDamaged(const absl::Status& status, const std::string& field) {
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    const ErrorDetail detail = DetailOf(status);
    EXPECT_EQ(detail.reason, "SESSION_DAMAGED");
    EXPECT_EQ(detail.metadata.at("session_id"), "s");
    EXPECT_EQ(detail.metadata.at("field"), field);
  }

  // Reading, taking and listing it; the other session does not suffer.
  void ExpectDamagedEverywhere(const std::string& field) {
    ExpectDamaged(other_->Load("s").status(), field);
    ExpectDamaged(store_->Acquire("s", std::nullopt).status(), field);
    SessionHolder again(*store_, "s");
    EXPECT_TRUE(absl::IsAlreadyExists(again.Create()));
    EXPECT_TRUE(bystander_.Append({3}).ok());
    const auto listed = store_->List("", "", 10, {});
    ASSERT_TRUE(listed.ok()) << listed.status();
    if (field == "metadata") {
      EXPECT_EQ(listed->records.size(), 1);
      EXPECT_EQ(listed->damaged, std::vector<std::string>{"s"});
    }
    // It can be deleted, and its id used again.
    SessionHolder damaged_one(*store_, "s");
    EXPECT_TRUE(damaged_one.Delete().ok());
    EXPECT_TRUE(absl::IsNotFound(store_->Load("s").status()));
    EXPECT_TRUE(again.Create({5}).ok());
    EXPECT_TRUE(again.Append({6}).ok());
  }

  RedisServer server_;
  std::unique_ptr<RedisStore> store_, other_;
  std::mt19937_64 random_{7};
  SessionHolder holder_{*store_, "s"}, bystander_{*store_, "t"};
};

TEST_F(RedisDamageTest, MissingParts) {
  server_.Run({"DEL", kRecord});
  ExpectDamagedEverywhere("metadata");
  StartAnew();
  server_.Run({"DEL", kRecord, kRuns});
  ExpectDamagedEverywhere("metadata");
  for (const std::string field : {"record", "version", "write"}) {
    StartAnew();
    server_.Run({"HDEL", kRecord, field});
    ExpectDamagedEverywhere("metadata");
  }
  StartAnew();
  server_.Run({"DEL", kRuns});
  EXPECT_TRUE(absl::IsDataLoss(holder_.Append({1})));  // nothing is built on what is not there
  ExpectDamagedEverywhere("tokens from 0");
  StartAnew();
  server_.Run({"RPOP", kRuns});
  EXPECT_TRUE(absl::IsDataLoss(holder_.Append({1})));
  ExpectDamagedEverywhere("tokens from 600");
  StartAnew();
  server_.Run({"LPOP", kRuns});
  ExpectDamagedEverywhere("tokens from 0");
}

TEST_F(RedisDamageTest, WrongTypes) {
  server_.Run({"SET", kRecord, "text"});
  EXPECT_TRUE(absl::IsDataLoss(holder_.Append({1})));
  ExpectDamagedEverywhere("metadata");
  StartAnew();
  server_.Run({"SET", kRuns, "text"});
  EXPECT_TRUE(absl::IsDataLoss(holder_.Append({1})));
  ExpectDamagedEverywhere("tokens from 0");

  for (const std::string key : {"kvasir:ids", "kvasir:expiry", "kvasir:fence"}) {
    StartAnew();
    server_.Run({"DEL", key});
    server_.Run({"HSET", key, "a", "b"});
    const Tokens before = holder_.tokens;
    for (const auto& status :
         {holder_.Append({1}), store_->Acquire("s", std::nullopt).status(), holder_.Delete()}) {
      EXPECT_EQ(DetailOf(status).reason, "STORE") << status;
    }
    server_.Run({"DEL", key});
    EXPECT_EQ(other_->Load("s")->tokens, before);
    EXPECT_TRUE(holder_.Append({1}).ok());
  }
}

TEST_F(RedisDamageTest, PartsOfOthers) {
  const std::string record = server_.Run({"HGET", kRecord, "record"});
  server_.Run({"HSET", kRecord, "record", server_.Run({"HGET", "kvasir:s:t:record", "record"})});
  ExpectDamagedEverywhere("metadata");
  StartAnew();
  const std::string run = server_.Run({"LINDEX", kRuns, "0"});
  server_.Run({"LSET", kRuns, "1", run});
  ExpectDamagedEverywhere("tokens from 300");
  // An older record over newer runs, and a state that the session had once.
  StartAnew();
  const std::string older = server_.Run({"HGET", kRecord, "record"});
  ASSERT_TRUE(holder_.Append({9}).ok());
  server_.Run({"HSET", kRecord, "record", older});
  ExpectDamagedEverywhere("metadata");
}

TEST_F(RedisDamageTest, AnUndamagedSessionIsNotDeletedAsOne) {
  SessionHolder hasty(*other_, "s");
  EXPECT_TRUE(absl::IsAborted(hasty.Delete()));
  EXPECT_EQ(other_->Load("s")->tokens, holder_.tokens);
}

TEST_F(RedisDamageTest, DamagedSessionsDoNotExpire) {
  server_.Run({"ZADD", "kvasir:expiry", "1", "s"});
  server_.Run({"HSET", kRecord, "record", "?", "lease_until", "0"});
  EXPECT_TRUE(store_->Expire({})->empty());
  EXPECT_TRUE(absl::IsDataLoss(store_->Load("s").status()));
}

TEST_F(RedisDamageTest, ADamagedTimeEndsNoSession) {
  SessionHolder young(*store_, "young");
  young.record.metadata.last_use_time = absl::Now();
  young.record.metadata.ttl = absl::Hours(1);
  ASSERT_TRUE(young.Create({1}).ok());
  ASSERT_TRUE(young.Release().ok());
  server_.Run({"ZADD", "kvasir:expiry", "1", "young"});
  EXPECT_TRUE(store_->Expire({})->empty());
  EXPECT_FALSE(other_->Load("young")->record.expired);
}

// One bit of any value that is stored of a session.
TEST_F(RedisDamageTest, FlippedBits) {
  const std::vector<std::string> fields = {"record", "version", "runs",       "write",
                                           "fence",  "owner",   "lease_until"};
  int refused = 0, read = 0;
  constexpr int kFlips = 400;
  for (int flip = 0; flip < kFlips && !HasFailure(); ++flip) {
    StartAnew();
    std::string value;
    const bool in_runs = flip % 3 == 0;
    const std::string run = std::to_string(random_() % 3);
    const std::string& field = fields[random_() % fields.size()];
    value = server_.Run(in_runs ? std::vector<std::string>{"LINDEX", kRuns, run}
                                : std::vector<std::string>{"HGET", kRecord, field});
    const size_t bit = random_() % (value.size() * 8);
    value[bit / 8] = static_cast<char>(value[bit / 8] ^ (1 << bit % 8));
    server_.Run(in_runs ? std::vector<std::string>{"LSET", kRuns, run, value}
                        : std::vector<std::string>{"HSET", kRecord, field, value});
    SCOPED_TRACE(absl::StrCat(in_runs ? "run " + run : field, " bit ", bit));

    const Tokens before = holder_.tokens;
    const auto loaded = other_->Load("s");
    if (loaded.ok()) {
      ++read;
      EXPECT_EQ(loaded->tokens, before);
      EXPECT_EQ(testing::Difference(loaded->record, holder_.record), "");
    } else {
      ++refused;
      EXPECT_TRUE(absl::IsDataLoss(loaded.status())) << loaded.status();
    }
    // A holder's write goes through or does not, and nothing else is read afterwards.
    const auto written = holder_.Append({1, 2, 3});
    EXPECT_TRUE(written.ok() || absl::IsAborted(written) || absl::IsDataLoss(written)) << written;
    const auto after = other_->Load("s");
    if (after.ok()) {
      EXPECT_EQ(after->tokens, holder_.tokens);
    } else {
      EXPECT_TRUE(absl::IsDataLoss(after.status())) << after.status();
    }
    const auto taken = other_->Acquire("s", std::nullopt);
    if (taken.ok()) {
      EXPECT_EQ(taken->tokens.value(), holder_.tokens);
    } else {
      EXPECT_TRUE(absl::IsDataLoss(taken.status()) ||
                  DetailOf(taken.status()).reason == "NOT_OWNER")
          << taken.status();
    }
    EXPECT_EQ(other_->Load("t")->tokens, (Tokens{1, 2}));
  }
  EXPECT_GT(refused, kFlips / 3);
  EXPECT_GT(read, kFlips / 10);  // owner, fence and lease do not say what the session is
}

}  // namespace
}  // namespace kvasir
