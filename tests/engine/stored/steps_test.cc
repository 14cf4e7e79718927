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
    sessions_.emplace(table_, cache_,
                      StoredSessions::Options{
                          .store = store_,
                          .fingerprint = "model",
                          .post = [this](Mailbox::Task task) { mailbox_.Post(std::move(task)); },
                          .lost = [this](Session& session,
                                         const absl::Status&) { lost_.push_back(session.id); }});
  }
  // Before what its callbacks use.
  ~StoredSessionsTest() override { sessions_.reset(); }

  void RunPosted() {
    std::vector<Mailbox::Task> tasks;
    mailbox_.Take(tasks);
    for (Mailbox::Task& task : tasks) task();
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
    while (!answer) {
      mailbox_.Wait(absl::InfiniteFuture());
      RunPosted();
    }
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
  while (!created) {
    mailbox_.Wait(absl::InfiniteFuture());
    RunPosted();
  }
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
  EXPECT_EQ(ReasonOf(Answer<absl::StatusOr<const Session*>>(
                [&](StoredSessions::Seen seen) { sessions_->Read("x", std::move(seen)); })),
            "DRAINING");
  EXPECT_EQ(ReasonOf(Answer<absl::StatusOr<StoredSessions::Page>>([&](StoredSessions::Listed done) {
              sessions_->List("", 10, {}, std::move(done));
            })),
            "DRAINING");
  EXPECT_EQ(ReasonOf(Answer<const absl::Status&>(
                [&](StoredSessions::Saved done) { sessions_->Delete("x", std::move(done)); })),
            "DRAINING");
}

}  // namespace
}  // namespace kvasir
