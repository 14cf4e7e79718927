// Three replicas behind HAProxy and one Redis: sessions go on where replicas are drained and die.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <iostream>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/services/crash/fleet.h"
#include "tests/services/crash/retrying_session.h"
#include "tests/services/crash/setting.h"

namespace kvasir::testing {
namespace {

constexpr int kClients = 16;
constexpr char kMoves[] = "kvasir_session_moves_total";

// Sessions, and the clients that take turns in them.
class Clients {
 public:
  Clients(const Fleet& fleet, int sessions) {
    for (int i = 0; i < kClients; ++i) stubs_.push_back(fleet.NewStub());
    const uint64_t seed = Setting("KVASIR_TORTURE_SEED", 1);
    for (int i = 0; i < sessions; ++i) {
      sessions_.push_back(
          std::make_unique<RetryingSession>("session-" + std::to_string(i), seed * 10'000 + i));
    }
  }
  ~Clients() { Join(); }
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;

  // So many turns in every session, each client going round in its own.
  void Start(int turns) {
    done_ = 0;
    for (int client = 0; client < kClients; ++client) {
      threads_.emplace_back([this, client, turns] {
        for (int turn = 0; turn < turns; ++turn) {
          ForEach(client, [&](RetryingSession& session) { TakeTurn(client, session); });
        }
      });
    }
  }
  void Join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  void TakeTurns(int turns) {
    Start(turns);
    Join();
  }
  // Until so many turns have been taken since Start, or there was a failure.
  void AwaitTurns(int turns) const {
    while (done_ < turns && !::testing::Test::HasFailure()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  // Every session is what it comes to undisturbed.
  void ExpectUndisturbed(const Fleet& fleet) {
    Reference reference;
    const auto stub = fleet.NewStub();
    for (int client = 0; client < kClients; ++client) {
      threads_.emplace_back([this, client, &reference, &stub] {
        ForEach(client, [&](RetryingSession& session) {
          const Reference::Run run(reference, session.history());
          EXPECT_EQ(run.tokens(), session.tokens()) << session.id();
          EXPECT_EQ(run.tokens(), ReadAll(*stub, session.id())) << session.id();
        });
      });
    }
    Join();
  }

  // Those whose last turn found nothing of them in its replica's cache.
  std::set<std::string> Moved() const {
    std::set<std::string> moved;
    for (const auto& session : sessions_) {
      if (session->cached_tokens() == 0) moved.insert(session->id());
    }
    return moved;
  }
  RetryingSession::Counts counts() const {
    RetryingSession::Counts counts;
    for (const auto& session : sessions_) counts += session->counts();
    return counts;
  }

 private:
  void ForEach(int client, const std::function<void(RetryingSession&)>& what) {
    for (size_t i = client; i < sessions_.size(); i += kClients) {
      if (::testing::Test::HasFailure()) return;
      what(*sessions_[i]);
    }
  }
  void TakeTurn(int client, RetryingSession& session) {
    const auto seed = static_cast<uint32_t>(std::hash<std::string>()(session.id()));
    const size_t length = session.tokens().size();
    session.Turn(*stubs_[client], SomeIds(4 + length % 5, seed + length), 12 + length % 9);
    ++done_;
  }

  std::vector<std::unique_ptr<v1::ModelService::Stub>> stubs_;
  std::vector<std::unique_ptr<RetryingSession>> sessions_;
  std::vector<std::thread> threads_;
  std::atomic<int> done_ = 0;
};

double Moves(const Fleet& fleet) {
  double moves = 0;
  for (int i = 0; i < fleet.size(); ++i) moves += fleet.Metric(i, kMoves);
  return moves;
}

TEST(Move, NothingIsLostWhereReplicasAreDrainedAndDie) {
  const auto begun = std::chrono::steady_clock::now();
  const int sessions = static_cast<int>(Setting("KVASIR_MOVE_SESSIONS", 600));
  Fleet fleet(3);
  Clients clients(fleet, sessions);
  clients.TakeTurns(1);
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(Moves(fleet), 0);
  std::vector<std::set<std::string>> served;
  for (int i = 0; i < fleet.size(); ++i) served.push_back(fleet.CachedSessions(i));
  EXPECT_EQ(served[0].size() + served[1].size() + served[2].size(), sessions);
  for (const auto& part : served) EXPECT_GT(part.size(), sessions / 5);

  // One is drained: its sessions move, and no other.
  fleet.Terminate(2);
  clients.TakeTurns(1);
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(clients.Moved(), served[2]);
  EXPECT_EQ(fleet.Metric(0, kMoves) + fleet.Metric(1, kMoves), served[2].size());
  fleet.Restart(2);

  // Under load streams break; the proxy drains one, which is then stopped; another one dies; both
  // come back.
  constexpr int kTurns = 3, kBreaks = 12;
  clients.Start(kTurns);
  const auto await_share = [&](double share) {
    clients.AwaitTurns(static_cast<int>(share * kTurns * sessions));
  };
  for (int i = 0; i < kBreaks; ++i) {
    await_share(0.4 * i / kBreaks);
    fleet.BreakStreams(i % fleet.size());
  }
  double moves = fleet.Metric(1, kMoves);  // which die with it
  fleet.Kill(1);
  await_share(0.5);
  fleet.Restart(1);
  fleet.SetState(0, "drain");
  await_share(0.7);
  moves += fleet.Metric(0, kMoves);
  fleet.Terminate(0);
  fleet.SetState(0, "ready");
  fleet.Restart(0);
  await_share(0.85);
  moves += fleet.Metric(1, kMoves);
  fleet.Kill(1);
  clients.Join();
  ASSERT_FALSE(HasFailure());
  fleet.Restart(1);
  clients.TakeTurns(1);
  ASSERT_FALSE(HasFailure());
  moves += Moves(fleet);
  EXPECT_GT(moves, 0);
  clients.ExpectUndisturbed(fleet);

  const RetryingSession::Counts counts = clients.counts();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
  std::cout << sessions << " sessions, " << (3 + kTurns) * sessions << " turns, " << moves
            << " moves; " << served[2].size() << " moved from the drained replica alone; "
            << counts.repeated << " turns repeated, " << counts.read_back
            << " read back after a broken stream, " << counts.continued
            << " of them continued; the longest turn took " << counts.longest.count() << " ms; "
            << seconds.count() << " s\n";
  for (const auto& [cause, count] : counts.causes) {
    std::cout << "  retried " << count << " times for " << cause << "\n";
  }
}

}  // namespace
}  // namespace kvasir::testing
