// Calls for one session that are on their way to the store at once.
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "tests/engine/stored/stored_engine.h"

namespace kvasir {
namespace {

using testing::FirstTurn;
using testing::Joined;
using testing::ReasonOf;
using testing::StoredEngine;
using testing::Turn;

// The answers of calls that are posted while the store hangs.
class Answers {
 public:
  explicit Answers(StoredEngine& engine) : engine_(engine) { engine_.store().Hang(); }

  Engine::Callback<SessionInfo> Next() {
    auto promise = std::make_shared<std::promise<absl::Status>>();
    statuses_.push_back(promise->get_future());
    return
        [promise](const absl::StatusOr<SessionInfo>& info) { promise->set_value(info.status()); };
  }
  // Once all have been posted to the store.
  std::vector<absl::Status> Await() {
    engine_->DropIdleBlocks();  // the engine's thread has seen them
    engine_.store().LetGo();
    std::vector<absl::Status> all;
    for (auto& status : statuses_) all.push_back(status.get());
    return all;
  }

 private:
  StoredEngine& engine_;
  std::vector<std::future<absl::Status>> statuses_;
};

TEST(MeetingCalls, ATurnAndACreationUnderOneNewId) {
  StoredEngine engine;
  Answers answers(engine);
  const auto turn = engine->Start(FirstTurn("x", {1, 2}, 200));
  engine->engine().CreateSession({.session_id = "x", .initial_ids = {7}}, answers.Next());
  EXPECT_TRUE(answers.Await()[0].ok());
  EXPECT_EQ(ReasonOf(turn->Wait().status), "SESSION_BUSY");
  EXPECT_EQ(*engine->Read("x"), std::vector{7});
  EXPECT_TRUE(engine->Generate(Turn("x", {1}, 2)).status.ok());
}

TEST(MeetingCalls, ATurnAndAForkUnderOneNewId) {
  StoredEngine engine;
  ASSERT_TRUE(engine->Create({.session_id = "s", .initial_ids = {1, 2, 3}}).ok());
  ASSERT_TRUE(engine->Generate(Turn("s", {}, 1)).status.ok());
  const std::vector<int> content = *engine->Read("s");
  Answers answers(engine);
  const auto turn = engine->Start(FirstTurn("x", {1, 2}, 200));
  engine->engine().ForkSession("", "s", "x", std::nullopt, answers.Next());
  EXPECT_TRUE(answers.Await()[0].ok());
  EXPECT_EQ(ReasonOf(turn->Wait().status), "SESSION_BUSY");
  EXPECT_EQ(*engine->Read("x"), content);
}

TEST(MeetingCalls, OfManyCreationsUnderOneIdOneIsMade) {
  StoredEngine engine;
  Answers answers(engine);
  for (int i = 0; i < 4; ++i) {
    engine->engine().CreateSession({.session_id = "x", .initial_ids = {i}}, answers.Next());
  }
  const auto turn = engine->Start(FirstTurn("x", {9}, 1));
  const std::vector<absl::Status> statuses = answers.Await();
  EXPECT_TRUE(statuses[0].ok());
  for (int i = 1; i < 4; ++i) EXPECT_EQ(ReasonOf(statuses[i]), "SESSION_EXISTS");
  // The turn asks behind them: it finds the one that was made.
  ASSERT_TRUE(turn->Wait().status.ok()) << turn->Wait().status;
  EXPECT_EQ(*engine->Read("x"), Joined({0, 9}, turn->Wait().ids));
}

TEST(MeetingCalls, ADeletionThatWaitsWhileTheServerStops) {
  StoredEngine engine;
  ASSERT_TRUE(engine->Create({.session_id = "s", .initial_ids = {1, 2, 3}}).ok());
  engine.store().Hang();
  engine->engine().TruncateSession("", "s", 1, std::nullopt,
                                   [](const absl::StatusOr<SessionInfo>&) {});
  std::promise<absl::Status> deleted;
  engine->engine().DeleteSession("", "s",
                                 [&](const absl::Status& status) { deleted.set_value(status); });
  engine->DropIdleBlocks();
  engine.store().AwaitHanging();
  // While the engine closes the store, most likely.
  std::thread late([store = &engine.store()] {
    absl::SleepFor(absl::Milliseconds(200));
    store->LetGo();
  });
  engine.Stop();
  late.join();
  const absl::Status status = deleted.get_future().get();
  EXPECT_TRUE(status.ok() || ReasonOf(status) == "DRAINING") << status;
  EXPECT_EQ(absl::IsNotFound(engine.OpenFile()->Load("s").status()), status.ok());
}

}  // namespace
}  // namespace kvasir
