// A store that fails, hangs or does not tell what has become of a write.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/engine/file_size_limit.h"
#include "tests/engine/stored/stored_engine.h"

namespace kvasir {
namespace {

using testing::DifferenceOf;
using testing::Eventually;
using testing::FaultStore;
using testing::FirstTurn;
using testing::FreshAnswer;
using testing::Joined;
using testing::Outcome;
using testing::RandomModel;
using testing::ReasonOf;
using testing::Recorder;
using testing::StoredEngine;
using testing::Turn;
using Fault = FaultStore::Fault;

constexpr uint64_t kSeed = 31;

// Faults concern the session "s" alone.
class FaultsTest : public ::testing::TestWithParam<Durability> {
 protected:
  FaultsTest() : engine_(With(GetParam())) {
    EXPECT_TRUE(
        engine_->Create({.session_id = "s", .initial_ids = {1, 2}, .sampling = {.seed = kSeed}})
            .ok());
    EXPECT_TRUE(engine_->Create({.session_id = "other"}).ok());
    EXPECT_TRUE(engine_->Generate(Turn("s", {3}, 4)).status.ok());
    before_ = *engine_->Read("s");
  }

  static EngineOptions With(Durability durability) {
    EngineOptions options = RandomModel::Options();
    options.durability = durability;
    return options;
  }
  void Set(Fault fault) {
    engine_.store().SetRule([fault](const SessionWrite& write) {
      return write.record.metadata.id == "other" ? Fault::kNone : fault;
    });
  }
  static void ExpectStoreFailure(const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_EQ(ReasonOf(status), "STORE");
  }
  // The session is what it was, and can be used; the store agrees.
  void ExpectUnchanged() {
    EXPECT_TRUE(engine_->Generate(Turn("other", {5}, 2)).status.ok());
    engine_.store().Heal();
    const auto info = engine_->Get("s");
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_FALSE(info->busy);
    EXPECT_EQ(info->length, before_.size());
    EXPECT_EQ(*engine_->Read("s"), before_);
    EXPECT_EQ(engine_.store().Peek("s")->tokens, before_);
    ExpectGoesOn(before_);
  }
  void ExpectGoesOn(const std::vector<int>& content) {
    const Outcome outcome = engine_->Generate(Turn("s", {8, 9}, 5));
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(outcome.started.session_length, content.size());
    const Outcome expected = FreshAnswer(*engine_, content, {8, 9}, 5, kSeed);
    EXPECT_EQ(DifferenceOf(outcome.logprobs, expected.logprobs), "");
    EXPECT_EQ(engine_.store().Peek("s")->tokens, *engine_->Read("s"));
  }

  StoredEngine engine_;
  std::vector<int> before_;
};

TEST_P(FaultsTest, ATurnThatCannotBeStoredHasNotBeen) {
  for (const uint32_t tokens : {1, 30}) {
    for (const uint32_t input : {0, 3}) {
      Set(Fault::kFails);
      const Outcome outcome = engine_->Generate(Turn("s", std::vector<int>(input, 4), tokens));
      ExpectStoreFailure(outcome.status);
      if (GetParam() == Durability::kToken) {
        EXPECT_TRUE(outcome.ids.empty());
      }
      ExpectUnchanged();
      before_ = *engine_->Read("s");
    }
  }
}

TEST_P(FaultsTest, ATurnThatMayBeStoredIsWhatTheStoreSays) {
  const std::vector<int> expected = FreshAnswer(*engine_, before_, {4, 4}, 6, kSeed).ids;
  Set(Fault::kLosesOutcome);
  GenerateRequest turn = Turn("s", {4, 4}, 6);
  turn.expected_length = before_.size();
  turn.request_id = "once";
  ExpectStoreFailure(engine_->Generate(turn).status);
  engine_.store().Heal();
  // A client that asks again does not get a second turn.
  EXPECT_EQ(ReasonOf(engine_->Generate(turn).status), "LENGTH_MISMATCH");
  const auto info = engine_->Get("s");
  EXPECT_EQ(info->last_request_id, "once");
  EXPECT_EQ(info->last_base_length, before_.size());
  const std::vector<int> whole = Joined(before_, Joined({4, 4}, expected));
  const std::vector<int> content = *engine_->Read("s");
  if (GetParam() == Durability::kTurn) {
    EXPECT_EQ(content, whole);
  } else {
    EXPECT_GT(content.size(), before_.size() + 2);
    EXPECT_EQ(content, std::vector(whole.begin(), whole.begin() + content.size()));
    EXPECT_EQ(info->last_finish_reason, FinishReason::kInterrupted);
  }
  ExpectGoesOn(content);
}

TEST_P(FaultsTest, ACancelledTurnThatCannotBeStoredHasNotBeen) {
  bool has_begun = false;
  std::promise<void> begun;
  const auto recorder = std::make_shared<Recorder>([&](size_t) {
    if (!std::exchange(has_begun, true)) begun.set_value();
  });
  if (GetParam() == Durability::kToken) recorder->room = true;
  engine_->Start(Turn("s", {4}, 4000), recorder);
  begun.get_future().get();
  if (GetParam() == Durability::kToken) before_.clear();  // some of it is stored
  Set(Fault::kFails);
  engine_->Cancel(recorder);
  const absl::Status status = recorder->Wait().status;
  EXPECT_TRUE(absl::IsCancelled(status) || absl::IsUnavailable(status)) << status;
  if (!before_.empty()) {
    ExpectUnchanged();
    return;
  }
  engine_.store().Heal();
  const std::vector<int> content = *engine_->Read("s");
  EXPECT_EQ(content, engine_.store().Peek("s")->tokens);
  EXPECT_GE(content.size(), 7 + 1 + recorder->received());
  ExpectGoesOn(content);
}

TEST_P(FaultsTest, WhatCannotBeCreatedIsNotThere) {
  for (const Fault fault : {Fault::kFails, Fault::kLosesOutcome}) {
    const std::string name = fault == Fault::kFails ? "fails" : "loses";
    Set(fault);
    ExpectStoreFailure(engine_->Create({.session_id = name, .initial_ids = {7}}).status());
    ExpectStoreFailure(engine_->Fork("s", name + "-fork").status());
    ExpectStoreFailure(engine_->Generate(FirstTurn(name + "-turn", {7}, 3)).status);
    engine_.store().Heal();
    for (const std::string& id : {name, name + "-fork", name + "-turn"}) {
      SCOPED_TRACE(id);
      const auto found = engine_->Get(id);
      EXPECT_EQ(found.ok(), fault == Fault::kLosesOutcome);
      if (found.ok()) {
        EXPECT_EQ(*engine_->Read(id), engine_.store().Peek(id)->tokens);
        EXPECT_EQ(ReasonOf(engine_->Create({.session_id = id}).status()), "SESSION_EXISTS");
      } else {
        EXPECT_EQ(ReasonOf(found.status()), "SESSION_NOT_FOUND");
        EXPECT_TRUE(engine_->Create({.session_id = id}).ok());
      }
      EXPECT_TRUE(engine_->Generate(Turn(id, {1}, 2)).status.ok());
      EXPECT_TRUE(engine_->Delete(id).ok());
    }
  }
  EXPECT_TRUE(engine_->Delete("s").ok());
  EXPECT_TRUE(engine_->Delete("other").ok());
  EXPECT_EQ(engine_->Stats().kv_blocks_used, 0);
}

TEST_P(FaultsTest, WhatCannotBeCutIsWhole) {
  Set(Fault::kFails);
  ExpectStoreFailure(engine_->Truncate("s", 1).status());
  ExpectUnchanged();
  Set(Fault::kLosesOutcome);
  ExpectStoreFailure(engine_->Truncate("s", 2).status());
  engine_.store().Heal();
  EXPECT_EQ(ReasonOf(engine_->Truncate("s", 1, before_.size()).status()), "LENGTH_MISMATCH");
  EXPECT_EQ(*engine_->Read("s"), (std::vector{1, 2}));
  ExpectGoesOn({1, 2});
}

TEST_P(FaultsTest, WhatCannotBeDeletedIsThere) {
  Set(Fault::kFails);
  ExpectStoreFailure(engine_->Delete("s"));
  ExpectUnchanged();
  Set(Fault::kLosesOutcome);
  ExpectStoreFailure(engine_->Delete("s"));
  engine_.store().Heal();
  EXPECT_EQ(ReasonOf(engine_->Get("s").status()), "SESSION_NOT_FOUND");
  EXPECT_EQ(ReasonOf(engine_->Delete("s")), "SESSION_NOT_FOUND");
}

TEST_P(FaultsTest, OthersGoOnWhileTheStoreHangs) {
  bool has_begun = false;
  std::promise<void> begun;
  const auto runner = std::make_shared<Recorder>([&](size_t tokens) {
    if (tokens >= 3 && !std::exchange(has_begun, true)) begun.set_value();
  });
  engine_->Start(Turn("other", {1}, 4000), runner);
  begun.get_future().get();
  engine_.store().Hang();
  const auto waits = engine_->Start(Turn("s", {4}, 2));
  engine_.store().AwaitHanging();
  const uint64_t steps = engine_->engine().stats().steps;
  EXPECT_TRUE(Eventually([&] { return engine_->engine().stats().steps > steps + 200; }));
  engine_->Cancel(runner);
  engine_.store().LetGo();
  EXPECT_TRUE(absl::IsCancelled(runner->Wait().status));
  EXPECT_TRUE(waits->Wait().status.ok());
}

INSTANTIATE_TEST_SUITE_P(Durability, FaultsTest,
                         ::testing::Values(Durability::kTurn, Durability::kToken),
                         [](const auto& info) {
                           return info.param == Durability::kTurn ? "Turn" : "Token";
                         });

TEST(Faults, MidTurnByTokenWhatWasToldStands) {
  EngineOptions options = RandomModel::Options();
  options.durability = Durability::kToken;
  StoredEngine engine(options);
  ASSERT_TRUE(engine->Create({.session_id = "s", .sampling = {.seed = kSeed}}).ok());
  const std::vector<int> expected = FreshAnswer(*engine, {}, {4}, 60, kSeed).ids;
  for (const size_t last : {1, 2, 7, 20}) {
    SCOPED_TRACE(last);
    ASSERT_TRUE(engine->Truncate("s", 0).ok());
    engine.store().SetRule([last](const SessionWrite& write) {
      return write.record.length > last + 1 ? Fault::kFails : Fault::kNone;
    });
    const Outcome outcome = engine->Generate(Turn("s", {4}, 60));
    EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(ReasonOf(outcome.status), "STORE");
    engine.store().Heal();
    EXPECT_LE(outcome.ids.size(), last);
    EXPECT_EQ(outcome.ids, std::vector(expected.begin(), expected.begin() + outcome.ids.size()));
    // Nothing was told that is not stored, and nothing is stored that was not told.
    const std::vector<int> content = *engine->Read("s");
    EXPECT_EQ(content, outcome.ids.empty() ? std::vector<int>() : Joined({4}, outcome.ids));
    const auto info = engine->Get("s");
    EXPECT_EQ(info->length, content.size());
    EXPECT_FALSE(info->busy);
  }
}

TEST(Faults, ByNoneTheNextCallSeesWhatTheStoreHas) {
  EngineOptions options = RandomModel::Options();
  options.durability = Durability::kNone;
  StoredEngine engine(options);
  ASSERT_TRUE(engine->Create({.session_id = "s", .initial_ids = {1}}).ok());
  for (const Fault fault : {Fault::kFails, Fault::kLosesOutcome}) {
    const std::vector<int> before = *engine->Read("s");
    engine.store().SetRule([fault](const SessionWrite&) { return fault; });
    const Outcome turn = engine->Generate(Turn("s", {2}, 3));
    EXPECT_TRUE(turn.status.ok());
    const std::vector<int> after =
        fault == Fault::kFails ? before : Joined(before, Joined({2}, turn.ids));
    // Nothing is cached of a session that was read from the store again: the write has failed by
    // now, and fails no call that comes later.
    EXPECT_TRUE(Eventually([&] {
      const auto content = engine->Read("s");
      const auto info = engine->Get("s");
      return content.ok() && *content == after && info.ok() && info->cached_tokens == 0;
    }));
    engine.store().Heal();
    const Outcome next = engine->Generate(Turn("s", {2}, 3));
    EXPECT_TRUE(next.status.ok()) << next.status;
  }
}

TEST(Faults, AFullDiskEndsTurnsUntilThereIsRoom) {
  StoredEngine engine;
  std::vector<std::string> ids;
  std::map<std::string, std::vector<int>> contents;
  for (int i = 0; i < 4; ++i) {
    ids.push_back("s" + std::to_string(i));
    ASSERT_TRUE(engine->Create({.session_id = ids.back(), .initial_ids = {1, 2, i}}).ok());
    contents[ids.back()] = {1, 2, i};
  }
  {
    // Room for some turns.
    const testing::FileSizeLimit limit(std::filesystem::file_size(engine.path() + "-wal") + 40'000);
    int failed = 0;
    for (int turn = 0; turn < 200 && failed < 12; ++turn) {
      const std::string& id = ids[turn % ids.size()];
      const std::vector<int> input(5, turn);
      const Outcome outcome = engine->Generate(Turn(id, input, 3));
      if (outcome.status.ok()) {
        contents[id] = Joined(contents[id], Joined(input, outcome.ids));
      } else {
        ++failed;
        EXPECT_EQ(ReasonOf(outcome.status), "STORE") << outcome.status;
      }
      EXPECT_EQ(*engine->Read(id), contents[id]);
    }
    EXPECT_EQ(failed, 12);
    const testing::FileSizeLimit none(4096);
    EXPECT_EQ(ReasonOf(engine->Create({.session_id = "new"}).status()), "STORE");
    EXPECT_EQ(ReasonOf(engine->Fork("s0", "new").status()), "STORE");
    EXPECT_EQ(ReasonOf(engine->Truncate("s0", 1).status()), "STORE");
    EXPECT_EQ(ReasonOf(engine->Delete("s0")), "STORE");
    // What needs no store goes on.
    EXPECT_TRUE(engine->Generate(Turn("", {1, 2}, 3)).status.ok());
  }
  for (const bool restarted : {false, true}) {
    if (restarted) engine.Restart();
    for (const std::string& id : ids) {
      SCOPED_TRACE(id);
      EXPECT_EQ(*engine->Read(id), contents[id]);
      const Outcome outcome = engine->Generate(Turn(id, {9}, 2));
      ASSERT_TRUE(outcome.status.ok()) << outcome.status;
      contents[id] = Joined(contents[id], Joined({9}, outcome.ids));
    }
  }
  EXPECT_EQ(ReasonOf(engine->Get("new").status()), "SESSION_NOT_FOUND");
}

}  // namespace
}  // namespace kvasir
