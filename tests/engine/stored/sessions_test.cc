// What is stored of sessions, and what an engine makes of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "engine/error.h"
#include "tests/engine/journal/random_sessions.h"
#include "tests/engine/stored/stored_engine.h"

namespace kvasir {
namespace {

using testing::DifferenceOf;
using ::testing::ElementsAre;
using testing::FirstTurn;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::RandomModel;
using testing::ReasonOf;
using testing::Recorder;
using testing::StoredEngine;
using testing::SyncEngine;
using testing::Turn;

std::vector<std::string> IdsOf(const SessionPage& page) {
  std::vector<std::string> ids;
  for (const SessionInfo& session : page.sessions) ids.push_back(session.session_id);
  return ids;
}

std::vector<std::string> AllIds(SyncEngine& engine, uint32_t page_size,
                                const std::map<std::string, std::string>& labels = {}) {
  std::vector<std::string> ids;
  ListSessionsRequest request = {.page_size = page_size, .labels = labels};
  do {
    const auto page = engine.List(request);
    EXPECT_TRUE(page.ok()) << page.status();
    if (!page.ok()) break;
    for (const std::string& id : IdsOf(*page)) ids.push_back(id);
    request.page_token = page->next_page_token;
  } while (!request.page_token.empty());
  return ids;
}

// Times are stored in microseconds or finer.
void ExpectSameInfo(const SessionInfo& a, const SessionInfo& b) {
  EXPECT_EQ(a.session_id, b.session_id);
  EXPECT_EQ(a.length, b.length);
  EXPECT_EQ(a.busy, b.busy);
  EXPECT_LT(absl::AbsDuration(a.create_time - b.create_time), absl::Microseconds(2));
  EXPECT_LT(absl::AbsDuration(a.last_use_time - b.last_use_time), absl::Microseconds(2));
  ASSERT_EQ(a.expire_time.has_value(), b.expire_time.has_value());
  if (a.expire_time) {
    EXPECT_LT(absl::AbsDuration(*a.expire_time - *b.expire_time), absl::Microseconds(2));
  }
  EXPECT_EQ(a.parent_session_id, b.parent_session_id);
  EXPECT_EQ(a.labels, b.labels);
  EXPECT_EQ(a.sampling.seed, b.sampling.seed);
  EXPECT_EQ(a.sampling.temperature, b.sampling.temperature);
  EXPECT_EQ(a.sampling.top_k, b.sampling.top_k);
  EXPECT_EQ(a.sampling.logit_bias, b.sampling.logit_bias);
  EXPECT_EQ(a.last_request_id, b.last_request_id);
  EXPECT_EQ(a.last_base_length, b.last_base_length);
  EXPECT_EQ(a.last_finish_reason, b.last_finish_reason);
}

TEST(StoredSessions, ARestartChangesNothingButWhatIsCached) {
  StoredEngine engine;
  ASSERT_TRUE(engine
                  ->Create({.session_id = "made",
                            .initial_ids = {3, 1, 4},
                            .ttl = absl::Hours(3),
                            .labels = {{"user", "anna"}, {"empty", ""}},
                            .sampling = {.temperature = 0.75f,
                                         .top_k = 40,
                                         .seed = 77,
                                         .logit_bias = {{5, 1.5f}, {9, -2.0f}}}})
                  .ok());
  GenerateRequest turn = Turn("made", {1, 5, 9}, 20);
  turn.request_id = "the third try";
  ASSERT_TRUE(engine->Generate(turn).status.ok());
  ASSERT_TRUE(engine->Fork("made", "branch", 7).ok());
  ASSERT_TRUE(engine->Generate(FirstTurn("found", {2, 6}, 5)).status.ok());

  std::map<std::string, SessionInfo> infos;
  std::map<std::string, std::vector<int>> contents;
  for (const std::string id : {"made", "branch", "found"}) {
    infos[id] = *engine->Get(id);
    contents[id] = *engine->Read(id);
  }
  EXPECT_EQ(infos["branch"].parent_session_id, "made");
  EXPECT_EQ(infos["made"].last_request_id, "the third try");
  EXPECT_EQ(infos["made"].last_base_length, 3);
  EXPECT_EQ(infos["made"].last_finish_reason, FinishReason::kMaxNewTokens);
  engine.Restart();
  for (const auto& [id, info] : infos) {
    SCOPED_TRACE(id);
    const auto now = engine->Get(id);
    ASSERT_TRUE(now.ok()) << now.status();
    ExpectSameInfo(*now, info);
    EXPECT_EQ(now->cached_tokens, 0);
    EXPECT_EQ(*engine->Read(id), contents[id]);
    EXPECT_EQ(*engine->Read(id, 3), std::vector(contents[id].begin() + 3, contents[id].end()));
    EXPECT_EQ(engine->Read(id, info.length + 1).status().code(), absl::StatusCode::kOutOfRange);
  }
}

TEST(StoredSessions, AContinuationAfterARestartIsTheSameBitForBit) {
  StoredEngine engine;
  SyncEngine whole([] {
    EngineOptions options = RandomModel::Options();
    options.session_store.reset();
    return options;
  }());
  ASSERT_TRUE(engine->Create({.session_id = "s", .sampling = {.seed = 5}}).ok());
  ASSERT_TRUE(whole.Create({.session_id = "s", .sampling = {.seed = 5}}).ok());
  for (int i = 0; i < 6; ++i) {
    SCOPED_TRACE(i);
    const std::vector<int> input(1 + 9 * i, 17 + i);
    const Outcome stored = engine->Generate(Turn("s", input, 11));
    const Outcome expected = whole.Generate(Turn("s", input, 11));
    ASSERT_TRUE(stored.status.ok()) << stored.status;
    EXPECT_EQ(stored.started.seed, expected.started.seed);
    EXPECT_EQ(DifferenceOf(stored.logprobs, expected.logprobs), "");
    EXPECT_EQ(*engine->Read("s"), *whole.Read("s"));
    engine.Restart();
  }
  // An empty continuation draws the next token from what is stored.
  const Outcome stored = engine->Generate(Turn("s", {}, 4));
  EXPECT_EQ(DifferenceOf(stored.logprobs, whole.Generate(Turn("s", {}, 4)).logprobs), "");
}

TEST(StoredSessions, AFailedCallThatWouldHaveCreatedItsSessionLeavesNothing) {
  StoredEngine engine;
  GenerateRequest refused = FirstTurn("refused", {1}, 5);
  refused.expected_length = 3;
  EXPECT_EQ(ReasonOf(engine->Generate(refused).status), "LENGTH_MISMATCH");
  const auto blocked = std::make_shared<Recorder>();
  blocked->room = false;
  engine->Start(FirstTurn("cancelled", {1, 2}, 5), blocked);
  ASSERT_TRUE(testing::Eventually([&] { return engine->Get("cancelled").ok(); }));
  engine->Cancel(blocked);
  EXPECT_TRUE(absl::IsCancelled(blocked->Wait().status));
  for (const std::string id : {"refused", "cancelled"}) {
    EXPECT_EQ(ReasonOf(engine->Get(id).status()), "SESSION_NOT_FOUND");
    EXPECT_TRUE(absl::IsNotFound(engine.store().Peek(id).status()));
  }
  EXPECT_EQ(engine.store().counts().commits, 0);
}

TEST(StoredSessions, PagesHoldWhatIsInMemoryAndWhatIsNot) {
  StoredEngine engine;
  const auto create = [&](const std::string& id, const std::string& color) {
    ASSERT_TRUE(engine->Create({.session_id = id, .labels = {{"color", color}}}).ok());
  };
  for (const std::string id : {"a", "c", "e", "g"}) create(id, id < "d" ? "red" : "blue");
  engine.Restart();
  for (const std::string id : {"b", "d", "f"}) create(id, id < "e" ? "red" : "blue");
  ASSERT_TRUE(engine->Generate(Turn("e", {1}, 2)).status.ok());  // back in memory
  for (const uint32_t size : {1, 2, 3, 7, 100}) {
    EXPECT_THAT(AllIds(*engine, size), ElementsAre("a", "b", "c", "d", "e", "f", "g"));
    EXPECT_THAT(AllIds(*engine, size, {{"color", "red"}}), ElementsAre("a", "b", "c", "d"));
    EXPECT_THAT(AllIds(*engine, size, {{"color", "blue"}}), ElementsAre("e", "f", "g"));
    EXPECT_THAT(AllIds(*engine, size, {{"color", "red"}, {"form", "round"}}), ElementsAre());
  }
  const auto page = engine->List({});
  EXPECT_EQ(page->sessions[4].length, 3);
  EXPECT_EQ(page->sessions[0].length, 0);
  ASSERT_TRUE(engine->Delete("c").ok());
  ASSERT_TRUE(engine->Delete("d").ok());
  EXPECT_THAT(AllIds(*engine, 2), ElementsAre("a", "b", "e", "f", "g"));
  engine.Restart();
  EXPECT_THAT(AllIds(*engine, 2), ElementsAre("a", "b", "e", "f", "g"));
}

TEST(StoredSessions, DeletingABusySessionCancelsItsCall) {
  StoredEngine engine;
  for (const bool is_new : {false, true}) {
    if (!is_new) {
      ASSERT_TRUE(engine->Create({.session_id = "s", .initial_ids = {1, 2}}).ok());
    }
    std::promise<void> running;
    const auto recorder = std::make_shared<Recorder>([&](size_t tokens) {
      if (tokens == 3) running.set_value();
    });
    engine->Start(FirstTurn("s", {7}, 4000), recorder);
    running.get_future().get();
    EXPECT_TRUE(engine->Delete("s").ok());
    EXPECT_TRUE(absl::IsCancelled(recorder->Wait().status));
    EXPECT_EQ(ReasonOf(engine->Get("s").status()), "SESSION_NOT_FOUND");
    EXPECT_TRUE(absl::IsNotFound(engine.store().Peek("s").status()));
    EXPECT_EQ(ReasonOf(engine->Delete("s")), "SESSION_NOT_FOUND");
  }
  engine.Restart();
  EXPECT_EQ(ReasonOf(engine->Get("s").status()), "SESSION_NOT_FOUND");
}

class DamageTest : public ::testing::Test {
 protected:
  // Puts a session of another origin into the file.
  void Put(const std::string& id, const std::string& fingerprint, const std::string& numerics) {
    const auto store = engine_.OpenFile();
    SessionWrite write;
    write.kind = SessionWrite::Kind::kCreate;
    write.record.metadata.id = id;
    write.record.metadata.create_time = write.record.metadata.last_use_time = absl::Now();
    write.record.metadata.sampling.seed = 3;
    write.record.fingerprint = fingerprint;
    write.record.numerics = numerics;
    write.append = {1, 2, 3};
    write.record.length = write.append.size();
    store->Write({&write, 1});
    ASSERT_TRUE(write.status.ok()) << write.status;
  }

  StoredEngine engine_;
};

TEST_F(DamageTest, AnotherModelsSessionsAreNamedAndLeftAlone) {
  const ModelInfo model = engine_->engine().model_info();
  ASSERT_TRUE(engine_->Create({.session_id = "own"}).ok());
  engine_.Stop();
  Put("other", std::string(64, 'f'), model.numerics);
  engine_.Start();
  const absl::Status status = engine_->Generate(Turn("other", {1}, 2)).status;
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), "MODEL_CHANGED");
  EXPECT_THAT(std::string(status.message()), HasSubstr("'other'"));
  EXPECT_EQ(DetailOf(status).metadata["session_id"], "other");
  EXPECT_EQ(DetailOf(status).metadata["fingerprint"], model.fingerprint);
  EXPECT_EQ(ReasonOf(engine_->Get("other").status()), "MODEL_CHANGED");
  EXPECT_EQ(ReasonOf(engine_->Read("other").status()), "MODEL_CHANGED");
  EXPECT_EQ(ReasonOf(engine_->Truncate("other", 1).status()), "MODEL_CHANGED");
  EXPECT_EQ(ReasonOf(engine_->Fork("other", "fork").status()), "MODEL_CHANGED");
  EXPECT_EQ(ReasonOf(engine_->Create({.session_id = "other"}).status()), "SESSION_EXISTS");
  EXPECT_TRUE(engine_->Generate(Turn("own", {1}, 2)).status.ok());
  EXPECT_EQ(engine_.store().Peek("other")->tokens, (std::vector{1, 2, 3}));
  EXPECT_TRUE(engine_->Delete("other").ok());
  EXPECT_TRUE(absl::IsNotFound(engine_.store().Peek("other").status()));
}

TEST_F(DamageTest, OtherNumericsAreToldOnceAndServed) {
  const std::string fingerprint = engine_->engine().model_info().fingerprint;
  engine_.Stop();
  for (const std::string id : {"a", "b", "c"}) Put(id, fingerprint, "cpu-of-old");
  std::vector<std::string> warnings;
  engine_.options().warn = [&](const std::string& line) { warnings.push_back(line); };
  engine_.Start();
  for (const std::string id : {"a", "b", "c"}) {
    EXPECT_EQ(*engine_->Read(id), (std::vector{1, 2, 3}));
    EXPECT_TRUE(engine_->Generate(Turn(id, {1}, 2)).status.ok());
  }
  engine_.Stop();  // the engine's thread has ended
  ASSERT_EQ(warnings.size(), 1);
  EXPECT_THAT(warnings[0], HasSubstr("cpu-of-old"));
}

TEST_F(DamageTest, ADamagedSessionIsRefusedWhileOthersGoOn) {
  ASSERT_TRUE(engine_->Generate(FirstTurn("fine", {1, 2}, 5)).status.ok());
  ASSERT_TRUE(engine_->Generate(FirstTurn("hurt", {300, 301, 302, 303}, 1)).status.ok());
  engine_.Stop();
  testing::DamageTokens(engine_.path(), "hurt");
  std::vector<std::string> warnings;
  engine_.options().warn = [&](const std::string& line) { warnings.push_back(line); };
  engine_.Start();
  for (int i = 0; i < 2; ++i) {
    const absl::Status status = engine_->Generate(Turn("hurt", {1}, 2)).status;
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_EQ(ReasonOf(status), "SESSION_DAMAGED");
    EXPECT_EQ(DetailOf(status).metadata["session_id"], "hurt");
    EXPECT_EQ(ReasonOf(engine_->Read("hurt").status()), "SESSION_DAMAGED");
    EXPECT_EQ(ReasonOf(engine_->Truncate("hurt", 1).status()), "SESSION_DAMAGED");
    EXPECT_EQ(ReasonOf(engine_->Fork("hurt", "fork").status()), "SESSION_DAMAGED");
    EXPECT_EQ(ReasonOf(engine_->Create({.session_id = "hurt"}).status()), "SESSION_EXISTS");
    EXPECT_EQ(ReasonOf(engine_->Generate(FirstTurn("hurt", {1}, 2)).status), "SESSION_DAMAGED");
    EXPECT_TRUE(engine_->Generate(Turn("fine", {1}, 2)).status.ok());
  }
  EXPECT_TRUE(engine_->Delete("hurt").ok());
  EXPECT_EQ(ReasonOf(engine_->Get("hurt").status()), "SESSION_NOT_FOUND");
  EXPECT_TRUE(engine_->Create({.session_id = "hurt"}).ok());
}

}  // namespace
}  // namespace kvasir
