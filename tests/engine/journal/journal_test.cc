#include "engine/journal/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/mailbox.h"

namespace kvasir {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;
using Kind = SessionWrite::Kind;

// What a FakeStore is told and was asked; the test's and the journal's threads share it.
class Script {
 public:
  void Note(std::string call) {
    std::unique_lock lock(mutex_);
    calls_.push_back(std::move(call));
    in_call_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !blocked_; });
    in_call_ = false;
  }
  // The next call blocks, until Unblock.
  void Block() { Set(blocked_, true); }
  void WaitUntilBlocked() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return blocked_ && in_call_; });
  }
  void Unblock() { Set(blocked_, false); }
  void WaitForCalls(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return calls_.size() >= count; });
  }
  std::vector<std::string> calls() {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  void Lose(std::string id) { Set(lost_, std::vector<std::string>{std::move(id)}); }
  std::vector<std::string> TakeLost() {
    const std::lock_guard lock(mutex_);
    return std::exchange(lost_, {});
  }
  void Fail(absl::Status status) { Set(failure_, std::move(status)); }
  absl::Status failure() {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

 private:
  template <typename T>
  void Set(T& field, T value) {
    const std::lock_guard lock(mutex_);
    field = std::move(value);
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool blocked_ = false, in_call_ = false;
  std::vector<std::string> calls_, lost_;
  absl::Status failure_;
};

std::string Named(const char* call, std::span<const SessionStore::Lease> leases) {
  std::string name = call;
  for (const auto& lease : leases) absl::StrAppend(&name, " ", lease.id, ":", lease.fence);
  return name;
}

// Succeeds, unless told otherwise. Fences count up from 1.
class FakeStore : public SessionStore {
 public:
  explicit FakeStore(Script& script, bool shared = true) : script_(script), shared_(shared) {}
  ~FakeStore() override { script_.Note("close"); }

  bool shared() const override { return shared_; }
  std::string name() const override { return "fake"; }
  absl::StatusOr<OwnedSession> Acquire(const std::string& id,
                                       std::optional<uint64_t> known) override {
    script_.Note(absl::StrCat("acquire ", id));
    if (id == "missing") return absl::NotFoundError(id);
    OwnedSession session;
    session.record.metadata.id = id;
    session.record.version = known.value_or(77);
    session.fence = ++fence_;
    return session;
  }
  absl::StatusOr<StoredSession> Load(const std::string& id) override {
    script_.Note(absl::StrCat("load ", id));
    StoredSession session;
    session.record.metadata.id = id;
    return session;
  }
  absl::StatusOr<SessionRecord> LoadRecord(const std::string& id) override {
    script_.Note(absl::StrCat("load record ", id));
    return SessionRecord{.metadata = {.id = id}};
  }
  void Write(std::span<SessionWrite> writes) override {
    std::string call = "write";
    for (SessionWrite& write : writes) {
      absl::StrAppend(&call, " ", write.record.metadata.id);
      write.status = script_.failure();
      if (write.kind == Kind::kCreate) write.new_fence = ++fence_;
    }
    script_.Note(call);
  }
  absl::StatusOr<std::vector<std::string>> Renew(std::span<const Lease> leases) override {
    script_.Note(Named("renew", leases));
    if (!script_.failure().ok()) return script_.failure();
    return script_.TakeLost();
  }
  absl::Status Release(std::span<const Lease> leases) override {
    script_.Note(Named("release", leases));
    return absl::OkStatus();
  }
  absl::StatusOr<Page> List(const std::string& after, const std::string& before, size_t count,
                            const std::map<std::string, std::string>& labels) override {
    script_.Note(absl::StrCat("list ", after, " ", before, " ", count, " ", labels.size()));
    return Page{.records = std::vector<SessionRecord>(2), .damaged = {"bad"}, .next = "on"};
  }
  absl::StatusOr<std::vector<std::string>> Expire(
      const std::set<std::string>& /*in_use*/) override {
    script_.Note("expire");
    return std::vector<std::string>{"old"};
  }
  absl::StatusOr<uint64_t> Size() override { return 0; }
  Counts counts() const override { return {}; }

 private:
  Script& script_;
  const bool shared_;
  Fence fence_ = 0;
};

SessionWrite WriteTo(const std::string& id, Kind kind = Kind::kUpdate) {
  SessionWrite write;
  write.kind = kind;
  write.record.metadata.id = id;
  return write;
}

// The owner's thread is the test's.
class JournalTest : public ::testing::Test {
 protected:
  void Open(absl::Duration renewal = absl::Hours(1), bool shared = true) {
    journal_ = std::make_unique<Journal>(
        std::make_unique<FakeStore>(script_, shared),
        [this](Journal::Task task) { mailbox_.Post(std::move(task)); },
        [this](LeaseClock::time_point /*asked*/, const std::vector<std::string>& renewed,
               const std::vector<std::string>& lost) {
          renewed_ = renewed;
          for (const std::string& id : lost) events_.push_back("lost " + id);
        },
        renewal);
  }
  auto Noting(std::string what) {
    return [this, what = std::move(what)](auto&& result) {
      if constexpr (requires { result.ok(); }) {
        events_.push_back(absl::StrCat(what, result.ok() ? "" : " failed"));
      } else {
        events_.push_back(absl::StrCat(what, result.status.ok() ? "" : " failed"));
      }
    };
  }
  void Write(const std::string& id, Kind kind = Kind::kUpdate) {
    journal_->Write(WriteTo(id, kind), Noting("wrote " + id));
    journal_->Submit();
  }
  void Acquire(const std::string& id) {
    journal_->Acquire(id, 1, Noting("acquired " + id));
    journal_->Submit();
  }
  void Load(const std::string& id) {
    journal_->Load(id, Noting("loaded"));
    journal_->Submit();
  }
  // Runs callbacks until there were so many events.
  void RunUntilEvents(size_t count) {
    std::vector<Mailbox::Task> tasks;
    while (events_.size() < count) {
      mailbox_.Wait(absl::InfiniteFuture());
      mailbox_.Take(tasks);
      for (auto& task : tasks) task();
    }
  }
  void RunAllPosted() {
    const size_t before = events_.size();
    journal_->Flush([this] { events_.emplace_back("flushed"); });
    journal_->Submit();
    while (events_.size() == before || events_.back() != "flushed") {
      RunUntilEvents(events_.size() + 1);
    }
    events_.pop_back();
  }
  void Close() {
    journal_.reset();
    std::vector<Mailbox::Task> tasks;
    mailbox_.Take(tasks);
    for (auto& task : tasks) task();
  }

  Script script_;
  Mailbox mailbox_;
  std::vector<std::string> events_;
  std::vector<std::string> renewed_;  // by the last renewal
  std::unique_ptr<Journal> journal_;
};

TEST_F(JournalTest, OperationsHappenInOrder) {
  Open();
  Acquire("a");
  Write("a");
  journal_->Load("b", Noting("loaded b"));
  journal_->LoadRecord("c", Noting("loaded record c"));
  journal_->List("x", "y", 3, {{"k", "v"}}, [this](absl::StatusOr<SessionStore::Page> page) {
    EXPECT_THAT(page->records, SizeIs(2));
    EXPECT_THAT(page->damaged, ElementsAre("bad"));
    EXPECT_EQ(page->next, "on");
    events_.emplace_back("listed");
  });
  journal_->Expire(Noting("expired"));
  Acquire("missing");
  RunAllPosted();
  EXPECT_THAT(events_, ElementsAre("acquired a", "wrote a", "loaded b", "loaded record c", "listed",
                                   "expired", "acquired missing failed"));
  EXPECT_THAT(script_.calls(), ElementsAre("acquire a", "write a", "load b", "load record c",
                                           "list x y 3 1", "expire", "acquire missing"));
}

TEST_F(JournalTest, NothingWaitsForTheStoreAndCallbacksWaitForTheOwner) {
  Open();
  script_.Block();
  Write("a");
  script_.WaitForCalls(1);
  Write("b");
  Acquire("c");
  EXPECT_EQ(journal_->stats().waiting, 3);
  EXPECT_THAT(events_, IsEmpty());
  script_.Unblock();
  script_.WaitForCalls(3);
  EXPECT_THAT(events_, IsEmpty());  // until the owner looks
  RunAllPosted();
  EXPECT_THAT(events_, ElementsAre("wrote a", "wrote b", "acquired c"));
}

TEST_F(JournalTest, WritesThatQueueUpBecomeOneCommit) {
  Open();
  script_.Block();
  Write("first");
  script_.WaitForCalls(1);
  std::string group = "write";
  for (int i = 0; i < 16; ++i) {
    Write(absl::StrCat("s", i));
    absl::StrAppend(&group, " s", i);
  }
  script_.Unblock();
  RunUntilEvents(17);
  EXPECT_THAT(script_.calls(), ElementsAre("write first", group));
  RunAllPosted();
  EXPECT_EQ(journal_->stats().groups, 2);
  EXPECT_EQ(journal_->stats().writes, 17);
  EXPECT_GT(journal_->stats().write_seconds, 0);
}

TEST_F(JournalTest, WritesThatAreSubmittedTogetherAreOneCommit) {
  Open();
  for (const char* id : {"a", "b", "c"}) journal_->Write(WriteTo(id), Noting(id));
  EXPECT_EQ(journal_->stats().waiting, 3);
  EXPECT_THAT(script_.calls(), IsEmpty());
  RunAllPosted();
  EXPECT_THAT(script_.calls(), ElementsAre("write a b c"));
}

TEST_F(JournalTest, TwoWritesOfASessionAreTwoGroups) {
  Open();
  script_.Block();
  Write("first");
  script_.WaitForCalls(1);
  for (const char* id : {"a", "b", "a", "c", "c"}) Write(id);
  journal_->Load("x", Noting("loaded x"));
  Write("d");
  script_.Unblock();
  RunAllPosted();
  EXPECT_THAT(script_.calls(),
              ElementsAre("write first", "write a b", "write a c", "write c", "load x", "write d"));
}

TEST_F(JournalTest, AFailedWriteReachesItsCaller) {
  Open();
  script_.Fail(absl::UnavailableError("full"));
  Write("a");
  RunAllPosted();
  EXPECT_THAT(events_, ElementsAre("wrote a failed"));
}

TEST_F(JournalTest, TheEndDoesWhatIsQueuedAndReleasesAllLeases) {
  Open();
  Acquire("a");
  Write("b", Kind::kCreate);
  Acquire("c");
  journal_->LetLapse("c");
  RunAllPosted();
  script_.Block();
  Write("a");
  script_.WaitForCalls(4);
  Write("z");
  Write("a");
  std::thread unblock([this] { script_.Unblock(); });
  Close();
  unblock.join();
  EXPECT_THAT(events_,
              ElementsAre("acquired a", "wrote b", "acquired c", "wrote a", "wrote z", "wrote a"));
  EXPECT_THAT(script_.calls(), ElementsAre("acquire a", "write b", "acquire c", "write a",
                                           "write z a", "release a:1 b:2 c:3", "close"));
}

TEST_F(JournalTest, WhatWasReleasedOrDeletedIsNotReleasedAgain) {
  Open();
  for (const char* id : {"a", "b", "c", "old", "missing"}) Acquire(id);
  journal_->Release("a");
  journal_->Release("a");
  Write("b", Kind::kDelete);
  journal_->Expire(Noting("expired"));
  RunAllPosted();
  Close();
  const auto calls = script_.calls();
  EXPECT_THAT(std::vector(calls.begin() + 5, calls.end()),
              ElementsAre("release a:1", "write b", "expire", "release c:3", "close"));
}

TEST_F(JournalTest, HeldLeasesAreRenewedAndOthersLapse) {
  Open(absl::Milliseconds(1));
  Acquire("a");
  RunUntilEvents(1);
  script_.WaitForCalls(6);  // by itself
  const auto calls = script_.calls();
  EXPECT_THAT(std::vector(calls.begin() + 1, calls.end()), ::testing::Each("renew a:1"));
  journal_->LetLapse("a");
  RunAllPosted();
  const size_t until = script_.calls().size();
  Acquire("b");
  script_.WaitForCalls(until + 3);
  EXPECT_THAT(script_.calls().back(), StartsWith("renew b:2"));
}

TEST_F(JournalTest, ARenewalTellsWhichLeasesItRenewed) {
  Open(absl::Milliseconds(1));
  for (const char* id : {"a", "b", "c"}) Acquire(id);
  journal_->LetLapse("b");
  RunAllPosted();
  script_.Lose("c");
  RunUntilEvents(4);
  EXPECT_EQ(events_.back(), "lost c");
  EXPECT_THAT(renewed_, ElementsAre("a"));
}

// A wake-up would cost a step more than it does here.
TEST_F(JournalTest, ALeaseThatNobodyElseCanWantWakesNobody) {
  Open(absl::Hours(1), /*shared=*/false);
  Acquire("a");
  RunUntilEvents(1);
  journal_->LetLapse("a");
  journal_->Submit();
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(journal_->stats().waiting, 1);
}

// Until the next renewal is due its end might come.
TEST_F(JournalTest, AnOldLeaseThatIsHeldAgainIsRenewedAtOnce) {
  constexpr absl::Duration kRenewal = absl::Milliseconds(100);
  Open(kRenewal);
  Acquire("a");
  journal_->LetLapse("a");
  RunAllPosted();
  absl::SleepFor(2 * kRenewal);
  script_.Block();
  Load("x");
  script_.WaitUntilBlocked();
  // Just behind a renewal, which had nothing to renew.
  Load("y");
  journal_->Hold("a");
  Load("z");
  script_.Unblock();
  RunAllPosted();
  auto calls = script_.calls();
  calls.resize(5);  // renewals go on
  EXPECT_THAT(calls, ElementsAre("acquire a", "load x", "load y", "renew a:1", "load z"));
}

TEST_F(JournalTest, RenewalDoesNotWaitForALongQueue) {
  Open(absl::Nanoseconds(1));  // always due
  Acquire("a");
  RunUntilEvents(1);
  script_.Block();
  script_.WaitUntilBlocked();  // within a renewal
  const size_t before = script_.calls().size();
  for (int i = 0; i < 3; ++i) Load("x");
  script_.Unblock();
  RunUntilEvents(4);
  const auto calls = script_.calls();
  std::vector<std::string> after(calls.begin() + before, calls.end());
  const auto first = std::find(after.begin(), after.end(), "load x");
  ASSERT_GE(after.end() - first, 5);
  EXPECT_THAT(std::vector(first, first + 5),
              ElementsAre("load x", "renew a:1", "load x", "renew a:1", "load x"));
}

TEST_F(JournalTest, ALostLeaseIsReportedOnceAndNotRenewed) {
  Open(absl::Milliseconds(1));
  Acquire("a");
  Acquire("b");
  RunUntilEvents(2);
  script_.Lose("a");
  RunUntilEvents(3);
  EXPECT_EQ(events_.back(), "lost a");
  const size_t calls = script_.calls().size();
  script_.WaitForCalls(calls + 2);
  EXPECT_EQ(script_.calls().back(), "renew b:2");
  EXPECT_THAT(events_, SizeIs(3));
}

TEST_F(JournalTest, ARenewalThatFailsIsTriedAgain) {
  Open(absl::Milliseconds(1));
  Acquire("a");
  RunUntilEvents(1);
  script_.Fail(absl::UnavailableError("away"));
  const size_t calls = script_.calls().size();
  script_.WaitForCalls(calls + 4);
  EXPECT_EQ(script_.calls().back(), "renew a:1");
  EXPECT_THAT(events_, SizeIs(1));  // nothing is lost
}

}  // namespace
}  // namespace kvasir
