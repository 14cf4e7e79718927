// The sessions in memory and the store behind them, a step at a time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "engine/stored_sessions.h"
#include "tests/engine/stored/fault_store.h"
#include "tests/engine/stored/stored_engine.h"
#include "tests/engine/temporary_directory.h"

namespace kvasir {
namespace {

using testing::FaultStore;
using testing::ReasonOf;
using testing::TemporaryDirectory;

// The engine's thread is the test's: what the store answers is seen when the test looks.
class StoredSessionsTest : public ::testing::Test {
 protected:
  StoredSessionsTest() {
    auto opened = OpenSqliteStore((directory_.path() / "sessions.db").string());
    EXPECT_TRUE(opened.ok()) << opened.status();
    store_ = std::make_shared<FaultStore>(*std::move(opened));
    Open();
  }
  void Open() {
    sessions_.emplace(
        table_, cache_,
        StoredSessions::Options{
            .store = store_,
            .fingerprint = "model",
            .post = [this](Mailbox::Task task) { mailbox_.Post(std::move(task)); },
            .lost = [this](Session& session, const absl::Status&) { lost_.push_back(session.id); },
            .limits = limits_});
  }
  // Before what its callbacks use.
  ~StoredSessionsTest() override { sessions_.reset(); }

  void RunPosted() {
    std::vector<Mailbox::Task> tasks;
    mailbox_.Take(tasks);
    for (Mailbox::Task& task : tasks) task();
  }
  void RunUntil(const std::function<bool()>& is_so) {
    while (!is_so()) {
      sessions_->Submit();
      mailbox_.Wait(absl::InfiniteFuture());
      RunPosted();
    }
  }
  // What `begin` is answered. T has a value that is OK or not.
  template <typename T>
  absl::Status Answer(absl::FunctionRef<void(absl::AnyInvocable<void(T)>)> begin) {
    std::optional<absl::Status> answer;
    begin([&](T result) {
      if constexpr (std::is_same_v<std::decay_t<T>, absl::Status>) {
        answer = result;
      } else {
        answer = result.status();
      }
    });
    RunUntil([&] { return answer.has_value(); });
    return *answer;
  }
  absl::Status Own(const std::string& id) {
    return Answer<absl::StatusOr<Session*>>(
        [&](StoredSessions::Found found) { sessions_->Own(id, std::move(found)); });
  }
  absl::Status Create(std::unique_ptr<Session> session) {
    return Answer<absl::StatusOr<Session*>>([&](StoredSessions::Found created) {
      sessions_->Create(std::move(session), std::move(created));
    });
  }
  static std::unique_ptr<Session> NewSession(const std::string& id) {
    auto session = std::make_unique<Session>();
    session->id = id;
    session->tokens = {1, 2, 3};
    session->committed = session->tokens.size();
    session->create_time = session->last_use_time = absl::Now();
    return session;
  }

  const TemporaryDirectory directory_;
  Mailbox mailbox_;
  KvCache cache_{8};
  SessionTable table_{cache_};
  std::shared_ptr<FaultStore> store_;
  TenantLimits limits_;
  std::vector<std::string> lost_;
  std::optional<StoredSessions> sessions_;
};

TEST_F(StoredSessionsTest, WhoeverIsOnASessionThatIsCreatedAnewHasLostIt) {
  ASSERT_TRUE(Create(NewSession("x")).ok());
  // A call is on what another replica has deleted, when a creation comes back.
  store_->Hang();
  std::optional<absl::Status> created;
  auto fresh = NewSession("y");
  sessions_->Create(std::move(fresh),
                    [&](const absl::StatusOr<Session*>& result) { created = result.status(); });
  EXPECT_TRUE(sessions_->IsBeingCreated("y"));
  auto old = NewSession("y");
  old->busy = true;
  Session& busy = table_.Insert(std::move(old));
  store_->LetGo();
  RunUntil([&] { return created.has_value(); });
  EXPECT_EQ(ReasonOf(*created), "STORE") << *created;
  EXPECT_FALSE(sessions_->IsBeingCreated("y"));
  EXPECT_THAT(lost_, ::testing::ElementsAre("y"));
  EXPECT_EQ(table_.Find("y"), &busy);
  busy.busy = false;
  sessions_->Drop(busy);
  EXPECT_TRUE(Own("y").ok());  // it has been created
}

TEST_F(StoredSessionsTest, AClosedStoreIsNotTakenForAnEmptyOne) {
  ASSERT_TRUE(Create(NewSession("x")).ok());
  sessions_->Close();
  EXPECT_EQ(ReasonOf(Own("x")), "DRAINING");
  EXPECT_EQ(ReasonOf(Own("y")), "DRAINING");
  EXPECT_EQ(ReasonOf(Create(NewSession("y"))), "DRAINING");
  for (const auto read : {&StoredSessions::Read, &StoredSessions::Describe}) {
    EXPECT_EQ(ReasonOf(Answer<const absl::StatusOr<SessionView>&>(
                  [&](StoredSessions::Seen seen) { (*sessions_.*read)("x", std::move(seen)); })),
              "DRAINING");
  }
  EXPECT_EQ(ReasonOf(Answer<absl::StatusOr<StoredSessions::Page>>([&](StoredSessions::Listed done) {
              sessions_->List("", "", 10, {}, std::move(done));
            })),
            "DRAINING");
  EXPECT_EQ(ReasonOf(Answer<const absl::Status&>(
                [&](StoredSessions::Saved done) { sessions_->Delete("x", std::move(done)); })),
            "DRAINING");
}

TEST_F(StoredSessionsTest, WhatNobodyElseCanWriteIsCurrentForEver) {
  ASSERT_FALSE(store_->shared());
  ASSERT_TRUE(Create(NewSession("made")).ok());
  EXPECT_EQ(table_.Find("made")->stored.lease_end, LeaseClock::time_point::max());
  sessions_->Drop(*table_.Find("made"));
  ASSERT_TRUE(Own("made").ok());
  EXPECT_EQ(table_.Find("made")->stored.lease_end, LeaseClock::time_point::max());
}

// A count of all takes a while; sessions come and go meanwhile, before and behind where it is.
TEST_F(StoredSessionsTest, WhatComesWhileUsageIsCountedIsCountedOnce) {
  constexpr int64_t kStored = 1500;  // two pages
  std::vector<SessionWrite> writes(kStored);
  for (int64_t i = 0; i < kStored; ++i) {
    writes[i].kind = SessionWrite::Kind::kCreate;
    writes[i].record.metadata.id = "m" + std::to_string(10'000 + i);
    writes[i].record.metadata.create_time = writes[i].record.metadata.last_use_time = absl::Now();
  }
  store_->Write(writes);
  limits_ = {.sessions = kStored + 1000};
  Open();
  store_->Hang();
  sessions_->Sweep(absl::Now());  // begins to count
  // Between the first page and the second.
  std::vector<absl::Status> created;
  for (const char* id : {"a", "z"}) {
    sessions_->Create(NewSession(id), [&](const absl::StatusOr<Session*>& result) {
      created.push_back(result.status());
    });
  }
  store_->LetGo();
  RunUntil([&] { return created.size() == 2; });
  ASSERT_TRUE(created[0].ok() && created[1].ok());
  const auto counted = [&](int64_t sessions) {
    return sessions_->usage().Check("", 1000 - (sessions - kStored), 0).ok() &&
           !sessions_->usage().Check("", 1001 - (sessions - kStored), 0).ok();
  };
  // Behind the second page.
  EXPECT_TRUE(Answer<const absl::StatusOr<SessionView>&>([&](StoredSessions::Seen seen) {
                sessions_->Describe("m10000", std::move(seen));
              }).ok() == false);
  EXPECT_TRUE(counted(kStored + 2));
  EXPECT_TRUE(Answer<const absl::Status&>([&](StoredSessions::Saved deleted) {
                sessions_->Delete("a", std::move(deleted));
              }).ok());
  EXPECT_TRUE(counted(kStored + 1));
}

// Somebody uses it while the store reads what it was before.
TEST_F(StoredSessionsTest, WhatIsNewerInMemoryIsNotTakenForExpired) {
  auto session = NewSession("x");
  session->ttl = absl::Milliseconds(1);
  ASSERT_TRUE(Create(std::move(session)).ok());
  Session& x = *table_.Find("x");
  absl::SleepFor(absl::Milliseconds(5));
  store_->Hang();
  std::optional<absl::Status> owned;
  sessions_->Own("x", [&](const absl::StatusOr<Session*>& found) { owned = found.status(); });
  EXPECT_FALSE(owned.has_value());
  x.last_use_time = absl::Now();
  x.ttl = absl::Hours(1);
  sessions_->Save(x, x.committed, x, [](const absl::Status&) {});
  store_->LetGo();
  RunUntil([&] { return owned.has_value(); });
  EXPECT_TRUE(owned->ok()) << *owned;
  EXPECT_EQ(table_.Find("x"), &x);
}

}  // namespace
}  // namespace kvasir
