// Redis is gone for a while, under load, and comes back.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/engine/journal/redis_server.h"
#include "tests/engine/stored/stored_engine.h"

namespace kvasir {
namespace {

using testing::Eventually;
using testing::FreshAnswer;
using testing::Joined;
using testing::Outcome;
using testing::RandomModel;
using testing::ReasonOf;
using testing::RedisServer;
using testing::SyncEngine;

std::unique_ptr<SyncEngine> EngineOver(std::shared_ptr<SessionStore> store) {
  EngineOptions options = RandomModel::Options();
  options.session_store = std::move(store);
  return std::make_unique<SyncEngine>(std::move(options));
}

void ExpectStoreFailure(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(ReasonOf(status), "STORE");
}

// Speaks to one session and knows what must be in it.
class Client {
 public:
  Client(SyncEngine& engine, SyncEngine& oracle, std::string id)
      : engine_(engine), oracle_(oracle), id_(std::move(id)) {}

  // A turn; where it fails, finds out what has become of it.
  void Speak() {
    const std::vector<int> input = {static_cast<int>(content_.size() % 300), 5};
    GenerateRequest request = testing::FirstTurn(id_, input, 6);
    request.expected_length = content_.size();
    request.sampling.seed = kSeed;
    const Outcome outcome = engine_.Generate(std::move(request));
    const std::vector<int> after =
        Joined(content_, Joined(input, FreshAnswer(oracle_, content_, input, 6, kSeed).ids));
    if (outcome.status.ok()) {
      EXPECT_EQ(Joined(content_, Joined(input, outcome.ids)), after);
      content_ = after;
      ++spoken;
    } else {
      ExpectStoreFailure(outcome.status);
      ++failed;
      FindOut(after);
    }
    if (content_.size() > 300) Cut();
  }
  const std::vector<int>& content() const { return content_; }
  const std::string& id() const { return id_; }

  std::atomic<int> spoken = 0, failed = 0;

 private:
  static constexpr uint64_t kSeed = 4;

  // The session is as it was, or `after`.
  void FindOut(const std::vector<int>& after) {
    absl::StatusOr<std::vector<int>> found;
    do {
      found = engine_.Read(id_);
      if (ReasonOf(found.status()) == "SESSION_NOT_FOUND") found = std::vector<int>();
      if (!found.ok()) ExpectStoreFailure(found.status());
    } while (!found.ok() && !::testing::Test::HasFailure());
    if (!found.ok()) return;
    EXPECT_TRUE(*found == content_ || *found == after) << "length " << found->size();
    content_ = *found;
  }
  void Cut() {
    const absl::Status status = engine_.Truncate(id_, 10, content_.size()).status();
    std::vector<int> after = content_;
    after.resize(10);
    if (status.ok()) {
      content_ = after;
    } else {
      ExpectStoreFailure(status);
      FindOut(after);
    }
  }

  SyncEngine& engine_;
  SyncEngine& oracle_;
  const std::string id_;
  std::vector<int> content_;
};

// Turns that need no session go on while the store is away.
class OneShots {
 public:
  explicit OneShots(SyncEngine& engine)
      : thread_([this, &engine] {
          while (!enough_) {
            const Outcome outcome = engine.Generate(testing::Turn("", {3, 1, 4}, 4));
            EXPECT_TRUE(outcome.status.ok()) << outcome.status;
            ++answered_;
          }
        }) {}
  ~OneShots() {
    enough_ = true;
    thread_.join();
  }
  int answered() const { return answered_; }

 private:
  std::atomic<bool> enough_ = false;
  std::atomic<int> answered_ = 0;
  std::thread thread_;  // last: uses the others
};

// Until every client has noticed, and KVASIR_OUTAGE_SECONDS.
absl::Duration ShortestOutage() {
  const char* seconds = std::getenv("KVASIR_OUTAGE_SECONDS");
  return absl::Seconds(seconds != nullptr ? std::strtod(seconds, nullptr) : 0);
}

// Redis goes by `stop`, and comes back by `start`.
void RunThroughAnOutage(RedisServer& server, const std::function<void()>& stop,
                        const std::function<void()>& start) {
  auto store = OpenRedisStore(server.url(), "a:1");
  ASSERT_TRUE(store.ok()) << store.status();
  const auto engine = EngineOver(*std::move(store)), oracle = EngineOver(nullptr);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(std::make_unique<Client>(*engine, *oracle, absl::StrCat("s", i)));
  }
  std::atomic<bool> enough = false;
  std::vector<std::thread> threads;
  for (const auto& client : clients) {
    threads.emplace_back([&enough, &client = *client] {
      while (!enough && !::testing::Test::HasFailure()) client.Speak();
    });
  }
  const auto all_have = [&](const std::function<bool(const Client&)>& has) {
    return Eventually([&] {
      return ::testing::Test::HasFailure() ||
             std::all_of(clients.begin(), clients.end(), [&](const auto& c) { return has(*c); });
    });
  };
  EXPECT_TRUE(all_have([](const Client& c) { return c.spoken >= 5; }));
  const OneShots one_shots(*engine);
  stop();
  const absl::Time back = absl::Now() + ShortestOutage();
  const int before = one_shots.answered();
  EXPECT_TRUE(all_have([](const Client& c) { return c.failed >= 1; }));
  absl::SleepFor(back - absl::Now());
  EXPECT_GT(one_shots.answered(), before + 10);
  start();
  for (const auto& client : clients) client->spoken = 0;
  EXPECT_TRUE(all_have([](const Client& c) { return c.spoken >= 30; }));
  enough = true;
  for (std::thread& thread : threads) thread.join();
  for (const auto& client : clients) EXPECT_EQ(*engine->Read(client->id()), client->content());
}

TEST(Outage, ARedisThatDiesAndComesBack) {
  RedisServer server;
  RunThroughAnOutage(
      server, [&] { server.Kill(); }, [&] { server.Start(); });
}

TEST(Outage, ARedisThatHangsAndGoesOn) {
  RedisServer server;
  RunThroughAnOutage(
      server, [&] { server.Pause(); }, [&] { server.Continue(); });
}

}  // namespace
}  // namespace kvasir
