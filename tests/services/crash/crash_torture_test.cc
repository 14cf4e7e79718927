// kvasir-model is killed, or now and then stopped, at random moments under a random load, comes
// back with its store, and has what it promised; conversations then go on as if nothing had been.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <iostream>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/engine/journal/redis_server.h"
#include "tests/engine/temporary_directory.h"
#include "tests/services/crash/compare.h"
#include "tests/services/crash/load.h"
#include "tests/services/crash/setting.h"
#include "tests/services/program.h"

namespace kvasir::testing {
namespace {

constexpr int kClients = 4;
const char* const kDurabilities[] = {"turn", "token", "none"};  // as the enumerators are

struct Figures {
  int rounds = 0, kills = 0, stops = 0, acknowledged_turns = 0;
  Found found;
};

// A server of ours on a store, as a process.
class StoredServer {
 public:
  StoredServer(const std::string& store, Durability durability)
      : program_("kvasir-model",
                 {"--listen=127.0.0.1:0", "--metrics=", "--threads=1", "--kv-memory=1MiB",
                  "--log-level=error", "--advertise=replica:1", "--session-store=" + store,
                  std::string("--durability=") + kDurabilities[static_cast<int>(durability)]}),
        channel_(grpc::CreateCustomChannel(program_.AwaitLine("listening on "),
                                           grpc::InsecureChannelCredentials(), OwnConnection())),
        stub_(v1::ModelService::NewStub(channel_)) {}

  v1::ModelService::Stub& stub() { return *stub_; }
  void Signal(int signal) { program_.Signal(signal); }
  // After SIGKILL or SIGTERM.
  void Bury(int signal) {
    EXPECT_EQ(program_.Wait(), signal == SIGKILL ? -SIGKILL : 0) << program_.standard_error();
    EXPECT_EQ(program_.standard_error(), "");
  }
  // Ends it, if it has not ended itself, to tell why calls on it failed.
  void TellItsEnd() {
    program_.Signal(SIGKILL);
    const int status = program_.Wait();
    std::cout << "kvasir-model ended with " << status << ", its standard error:\n"
              << program_.standard_error();
  }

 private:
  static grpc::ChannelArguments OwnConnection() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return arguments;
  }

  Program program_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::ModelService::Stub> stub_;
};

// One store with its load, and one to three deaths.
class Round {
 public:
  Round(Reference& reference, std::string store, uint64_t seed)
      : reference_(reference),
        store_(std::move(store)),
        random_(seed),
        durability_(static_cast<Durability>(random_() % 3)) {
    for (int i = 0; i < kClients; ++i) clients_.emplace_back(i, seed, durability_);
  }

  Figures Run() {
    Figures figures;
    server_ = std::make_unique<StoredServer>(store_, durability_);
    for (uint64_t deaths = 1 + random_() % 3; deaths > 0 && !::testing::Test::HasFailure();
         --deaths) {
      const bool stop = random_() % 5 == 0;
      RunUntilDeath(stop ? SIGTERM : SIGKILL);
      ++(stop ? figures.stops : figures.kills);
      server_ = std::make_unique<StoredServer>(store_, durability_);
      figures.found += Compare();
    }
    if (::testing::Test::HasFailure()) server_->TellItsEnd();
    for (const LoadClient& client : clients_) {
      figures.acknowledged_turns += client.acknowledged_turns();
    }
    return figures;
  }
  const char* durability() const { return kDurabilities[static_cast<int>(durability_)]; }

 private:
  void RunUntilDeath(int signal) {
    // Right after something was heard of it, when it must be true; or at any time.
    const bool by_events = random_() % 2 == 0;
    const int events = by_events ? 1 + static_cast<int>(random_() % 150) : 1'000'000;
    const std::chrono::milliseconds after(by_events ? 3000 : random_() % 300);
    Death death([&] { server_->Signal(signal); }, events, after);
    std::vector<std::thread> threads;
    for (LoadClient& client : clients_) {
      threads.emplace_back([&] { client.Run(server_->stub(), death); });
    }
    death.Await();
    for (std::thread& thread : threads) thread.join();
    server_->Bury(signal);
    if (signal == SIGKILL) return;
    for (LoadClient& client : clients_) {  // whoever stops in good order stores everything before
      for (KnownSession& session : client.sessions()) session.durable = session.history.size();
    }
  }

  Found Compare() {
    std::vector<Found> found(kClients);
    std::vector<std::thread> threads;
    for (int i = 0; i < kClients; ++i) {
      threads.emplace_back([&, i] {
        for (KnownSession& session : clients_[i].sessions()) {
          found[i] += CompareAfterDeath(server_->stub(), reference_, durability_, session);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    ExpectListed();
    threads.clear();
    for (LoadClient& client : clients_) threads.emplace_back([&] { Continue(client); });
    for (std::thread& thread : threads) thread.join();
    Found all;
    for (const Found& part : found) all += part;
    return all;
  }

  void Continue(LoadClient& client) {
    for (KnownSession& session : client.sessions()) {
      if (!session.exists()) continue;
      v1::GenerateRequest turn = client.RandomTurn(session);
      turn.set_top_logprobs(2);
      turn.set_expected_length(session.length);
      ContinueOnBoth(server_->stub(), reference_, turn, session);
    }
  }

  void ExpectListed() {
    std::set<std::string> expected, listed;
    for (LoadClient& client : clients_) {
      for (const KnownSession& session : client.sessions()) {
        if (session.exists()) expected.insert(session.id);
      }
    }
    v1::ListSessionsResponse response;
    EXPECT_TRUE(List(server_->stub(), {}, response).ok());
    for (const v1::Session& session : response.sessions()) listed.insert(session.session_id());
    EXPECT_EQ(listed, expected);
  }

  Reference& reference_;
  const std::string store_;
  std::mt19937_64 random_;
  const Durability durability_;
  std::vector<LoadClient> clients_;
  std::unique_ptr<StoredServer> server_;
};

// `new_store`: an empty one, as --session-store takes it.
void RunRounds(const std::string& name, const std::function<std::string()>& new_store) {
  const uint64_t rounds = Setting("KVASIR_TORTURE_ROUNDS", 20);
  const uint64_t first = Setting("KVASIR_TORTURE_SEED", 1);
  const auto begun = std::chrono::steady_clock::now();
  Reference reference;
  Figures all;
  for (uint64_t seed = first; seed < first + rounds && !::testing::Test::HasFailure(); ++seed) {
    Round round(reference, new_store(), seed);
    const Figures figures = round.Run();
    ++all.rounds;
    all.kills += figures.kills;
    all.stops += figures.stops;
    all.acknowledged_turns += figures.acknowledged_turns;
    all.found += figures.found;
    EXPECT_FALSE(::testing::Test::HasFailure())
        << "durability " << round.durability() << "; again: scripts/torture.sh --store=" << name
        << " --rounds=1 --seed=" << seed;
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
  std::cout << name << ": " << all.rounds << " rounds from seed " << first << ": " << all.kills
            << " kills, " << all.stops << " stops, " << all.acknowledged_turns
            << " acknowledged turns, " << all.found.sessions
            << " sessions compared; turns under way: " << all.found.whole << " whole, "
            << all.found.absent << " absent, " << all.found.partly << " partly; "
            << all.found.lost_turns << " turns lost by durability none; " << seconds.count()
            << " s\n";
}

TEST(CrashTorture, Sqlite) {
  const TemporaryDirectory directory;
  int file = 0;
  RunRounds("sqlite", [&] {
    return "sqlite:" + (directory.path() / (std::to_string(file++) + ".db")).string();
  });
}

TEST(CrashTorture, Redis) {
  RedisServer redis;
  RunRounds("redis", [&] {
    redis.Run({"FLUSHALL"});
    return redis.url();
  });
}

}  // namespace
}  // namespace kvasir::testing
