// What is stored when a client hears of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/stored/stored_engine.h"

namespace kvasir {
namespace {

using testing::Eventually;
using testing::FaultStore;
using testing::FirstTurn;
using testing::Joined;
using testing::Outcome;
using testing::RandomModel;
using testing::ReasonOf;
using testing::Recorder;
using testing::StoredEngine;
using testing::Turn;

// Looks into the store whenever something is told.
class Watcher : public GenerateSink {
 public:
  Watcher(FaultStore& store, std::string id) : store_(store), id_(std::move(id)) {}

  bool HasRoom() const override { return true; }
  void OnStarted(const GenerateStarted&) override {}
  void OnTokens(std::span<const int> ids, std::span<const TokenLogprob>,
                std::span<const TokenLogprob>) override {
    received_.insert(received_.end(), ids.begin(), ids.end());
    if (at_tokens) at_tokens(Stored(), received_);
  }
  void OnComplete(const GenerateComplete&) override {
    if (at_end) at_end(store_.Peek(id_), received_);
    ended_.set_value(absl::OkStatus());
  }
  void OnError(const absl::Status& status) override {
    if (at_end) at_end(store_.Peek(id_), received_);
    ended_.set_value(status);
  }
  absl::Status Wait() { return ended_.get_future().get(); }

  // Both before anything else is told.
  std::function<void(const std::vector<int>& stored, const std::vector<int>& received)> at_tokens;
  std::function<void(const absl::StatusOr<StoredSession>& stored, const std::vector<int>& received)>
      at_end;

 private:
  std::vector<int> Stored() {
    auto stored = store_.Peek(id_);
    return stored.ok() ? std::move(stored->tokens) : std::vector<int>();
  }

  FaultStore& store_;
  const std::string id_;
  std::vector<int> received_;  // the engine's thread's until the end
  std::promise<absl::Status> ended_;
};

EngineOptions With(Durability durability) {
  EngineOptions options = RandomModel::Options();
  options.durability = durability;
  return options;
}

TEST(Durability, ATurnIsStoredBeforeItsEndIsTold) {
  StoredEngine engine(With(Durability::kTurn));
  std::vector<int> content;
  for (int i = 0; i < 20; ++i) {
    SCOPED_TRACE(i);
    const std::vector<int> input(1 + i, 10 + i);
    const auto watcher = std::make_shared<Watcher>(engine.store(), "s");
    watcher->at_end = [&](const auto& stored, const std::vector<int>& received) {
      ASSERT_TRUE(stored.ok()) << stored.status();
      content = Joined(content, Joined(input, received));
      EXPECT_EQ(stored->tokens, content);
      EXPECT_EQ(stored->record.metadata.last_request_id, std::to_string(i));
      EXPECT_EQ(stored->record.metadata.last_finish_reason, FinishReason::kMaxNewTokens);
    };
    GenerateRequest request = FirstTurn("s", input, 4);
    request.request_id = std::to_string(i);
    engine->engine().Generate(std::move(request), watcher);
    EXPECT_TRUE(watcher->Wait().ok());
  }
  EXPECT_EQ(*engine->Read("s"), content);
}

TEST(Durability, ByTokenEachIsStoredBeforeItIsTold) {
  StoredEngine engine(With(Durability::kToken));
  std::vector<int> before;
  for (int i = 0; i < 4; ++i) {
    const std::vector<int> input(1 + i, 10 + i);
    const auto watcher = std::make_shared<Watcher>(engine.store(), "s");
    size_t told = 0;
    watcher->at_tokens = [&](const std::vector<int>& stored, const std::vector<int>& received) {
      const std::vector<int> known = Joined(before, Joined(input, received));
      ASSERT_GE(stored.size(), known.size());
      EXPECT_TRUE(std::equal(known.begin(), known.end(), stored.begin()));
      told = received.size();
    };
    watcher->at_end = [&](const auto& stored, const std::vector<int>& received) {
      ASSERT_TRUE(stored.ok());
      EXPECT_EQ(stored->tokens, Joined(before, Joined(input, received)));
      EXPECT_EQ(stored->record.metadata.last_finish_reason, FinishReason::kMaxNewTokens);
    };
    engine->engine().Generate(FirstTurn("s", input, 30), watcher);
    EXPECT_TRUE(watcher->Wait().ok());
    EXPECT_EQ(told, 30);
    before = *engine->Read("s");
  }
}

TEST(Durability, ByTokenNothingIsToldOfATurnThatTheStoreHasNot) {
  StoredEngine engine(With(Durability::kToken));
  ASSERT_TRUE(engine->Create({.session_id = "s"}).ok());
  engine.store().Hang();
  const auto recorder = engine->Start(Turn("s", {1, 2}, 12));
  engine.store().AwaitHanging();
  // The model goes on meanwhile: steps do not wait for the store.
  ASSERT_TRUE(Eventually([&] { return engine->engine().stats().generated_tokens == 12; }));
  EXPECT_EQ(engine->engine().stats().steps, 12);
  // Had one been told, it would be here: the engine's thread answers one question after another.
  engine->DropIdleBlocks();
  EXPECT_EQ(engine.store().Peek("s")->tokens.size(), 0);
  EXPECT_EQ(recorder->received(), 0);
  engine.store().LetGo();
  EXPECT_EQ(recorder->Wait().ids.size(), 12);
  // All that came while the first token was stored went into the store together.
  EXPECT_LE(engine.store().counts().commits, 1 + 3);
}

TEST(Durability, ByNoneNothingWaits) {
  StoredEngine engine(With(Durability::kNone));
  ASSERT_TRUE(engine->Create({.session_id = "s"}).ok());
  engine.store().Hang();
  std::vector<int> content;
  for (int i = 0; i < 3; ++i) {
    const Outcome outcome = engine->Generate(Turn("s", {1, 2}, 5));
    ASSERT_TRUE(outcome.status.ok());
    content = Joined(content, Joined({1, 2}, outcome.ids));
  }
  EXPECT_EQ(engine.store().Peek("s")->tokens.size(), 0);
  EXPECT_EQ(*engine->Read("s"), content);
  engine.store().LetGo();
  ASSERT_TRUE(Eventually([&] { return engine.store().Peek("s")->tokens == content; }));
  EXPECT_TRUE(engine->Generate(Turn("s", {1}, 1)).status.ok());
  const std::vector<int> all = *engine->Read("s");
  engine.Restart();  // a stop stores what is on its way
  EXPECT_EQ(*engine->Read("s"), all);
}

TEST(Durability, ACancelledTurnIsStoredBeforeItsSessionIsFree) {
  for (const Durability durability : {Durability::kTurn, Durability::kToken}) {
    StoredEngine engine(With(durability));
    ASSERT_TRUE(engine->Create({.session_id = "s"}).ok());
    std::promise<void> begun;
    bool has_begun = false;
    const auto recorder = std::make_shared<Recorder>([&](size_t tokens) {
      if (tokens >= 5 && !std::exchange(has_begun, true)) begun.set_value();
    });
    engine->Start(Turn("s", {1, 2, 3}, 4000), recorder);
    begun.get_future().get();
    engine.store().Hang();
    engine->Cancel(recorder);
    engine.store().AwaitHanging();
    EXPECT_EQ(ReasonOf(engine->Generate(Turn("s", {1}, 1)).status), "SESSION_BUSY");
    EXPECT_TRUE(engine->Get("s")->busy);
    engine.store().LetGo();
    const Outcome& outcome = recorder->Wait();
    EXPECT_TRUE(absl::IsCancelled(outcome.status));
    const auto info = engine->Get("s");
    EXPECT_FALSE(info->busy);
    EXPECT_EQ(info->last_finish_reason, FinishReason::kInterrupted);
    EXPECT_GE(info->length, 3 + 5);
    EXPECT_EQ(info->length, 3 + outcome.ids.size());
    EXPECT_EQ(engine.store().Peek("s")->tokens, *engine->Read("s"));
  }
}

// What a call is about to make of a session is nobody else's before it is stored.
TEST(Durability, WhileATurnRunsItsSessionIsWhatIsStored) {
  for (const Durability durability : {Durability::kTurn, Durability::kToken, Durability::kNone}) {
    SCOPED_TRACE(static_cast<int>(durability));
    StoredEngine engine(With(durability));
    ASSERT_TRUE(engine->Create({.session_id = "s", .initial_ids = {1, 2, 3}}).ok());
    GenerateRequest first = Turn("s", {5}, 1);
    first.request_id = "first";
    ASSERT_TRUE(engine->Generate(std::move(first)).status.ok());
    const std::vector<int> before = *engine->Read("s");
    testing::SlowTurn turn(*engine, "s");  // {4, 2}, and a token has been told
    // Some of its tokens may come only now.
    const uint64_t least = durability == Durability::kTurn ? before.size() : before.size() + 3;
    const uint64_t most = durability == Durability::kTurn ? before.size() : before.size() + 8;
    const auto is_seen = [&](uint64_t length) { return length >= least && length <= most; };
    const auto info = engine->Get("s");
    EXPECT_TRUE(info->busy);
    EXPECT_TRUE(is_seen(info->length)) << info->length;
    EXPECT_TRUE(is_seen(engine->List({})->sessions[0].length));
    ASSERT_TRUE(engine->Fork("s", "fork").ok());
    const std::vector<int> forked = *engine->Read("fork"), seen = *engine->Read("s");
    EXPECT_TRUE(is_seen(forked.size()) && is_seen(seen.size()));
    if (durability == Durability::kToken) {
      EXPECT_GE(engine.store().Peek("s")->tokens.size(), seen.size());
      EXPECT_EQ(info->last_finish_reason, FinishReason::kInterrupted);
    } else {
      EXPECT_EQ(info->last_request_id, "first");
    }
    turn.GoOn();
    ASSERT_TRUE(turn.Wait().status.ok());
    const std::vector<int> after = *engine->Read("s");
    EXPECT_EQ(after, Joined(before, Joined({4, 2}, turn.Wait().ids)));
    EXPECT_EQ(seen, std::vector(after.begin(), after.begin() + seen.size()));
    EXPECT_EQ(forked, std::vector(after.begin(), after.begin() + forked.size()));
    EXPECT_EQ(engine->Get("s")->last_request_id, "");
  }
}

TEST(Durability, WhatIsOnItsWayToTheStoreIsNotSeen) {
  StoredEngine engine(With(Durability::kTurn));
  ASSERT_TRUE(engine->Create({.session_id = "s", .initial_ids = {1, 2, 3}}).ok());
  ASSERT_TRUE(engine->Create({.session_id = "cut", .initial_ids = {1, 2, 3}}).ok());
  engine.store().Hang();
  const auto fresh = engine->Start(FirstTurn("fresh", {5, 6}, 1));
  GenerateRequest request = Turn("s", {4}, 2);
  request.request_id = "turn";
  const auto turn = engine->Start(std::move(request));
  std::promise<uint64_t> cut;
  engine->engine().TruncateSession(
      "", "cut", 1, std::nullopt,
      [&](const absl::StatusOr<SessionInfo>& info) { cut.set_value(info->length); });
  ASSERT_TRUE(Eventually([&] { return engine->engine().stats().generated_tokens == 2; }));
  for (const std::string id : {"s", "cut"}) {
    const auto info = engine->Get(id);
    EXPECT_TRUE(info->busy);
    EXPECT_EQ(info->length, 3);
    EXPECT_EQ(info->last_request_id, "");
    EXPECT_EQ(*engine->Read(id), (std::vector{1, 2, 3}));
  }
  engine.store().LetGo();
  EXPECT_TRUE(turn->Wait().status.ok());
  EXPECT_TRUE(fresh->Wait().status.ok());
  EXPECT_EQ(cut.get_future().get(), 1);
  EXPECT_EQ(*engine->Read("cut"), std::vector{1});
  EXPECT_EQ(engine->Get("s")->length, 6);
  EXPECT_EQ(engine->Get("s")->last_request_id, "turn");
}

TEST(Durability, TurnsThatEndTogetherAreCommittedTogether) {
  StoredEngine engine(With(Durability::kTurn));
  constexpr int kTurns = 16;
  for (int i = 0; i < kTurns; ++i) {
    ASSERT_TRUE(engine->Create({.session_id = std::to_string(i)}).ok());
  }
  const EngineStats before = engine->Stats();
  const uint64_t commits_before = engine.store().counts().commits;
  engine.store().Hang();
  std::vector<std::shared_ptr<Recorder>> turns;
  for (int i = 0; i < kTurns; ++i)
    turns.push_back(engine->Start(Turn(std::to_string(i), {1, i}, 3)));
  engine.store().AwaitHanging();
  ASSERT_TRUE(Eventually([&] { return engine->engine().stats().generated_tokens == kTurns * 3; }));
  engine->DropIdleBlocks();  // after the step that made the last of them
  engine.store().LetGo();
  for (const auto& turn : turns) EXPECT_TRUE(turn->Wait().status.ok());
  const EngineStats after = engine->Stats();
  EXPECT_EQ(after.store_writes - before.store_writes, kTurns);
  // What came before the store hung, and what had queued up behind it.
  EXPECT_LE(after.store_commits - before.store_commits, 2);
  EXPECT_EQ(engine.store().counts().commits - commits_before,
            after.store_commits - before.store_commits);
}

}  // namespace
}  // namespace kvasir
