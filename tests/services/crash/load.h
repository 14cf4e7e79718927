#ifndef KVASIR_TESTS_SERVICES_CRASH_LOAD_H_
#define KVASIR_TESTS_SERVICES_CRASH_LOAD_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "tests/services/crash/history.h"

namespace kvasir::testing {

// When a server dies: with so many events at its clients, else after so long.
class Death {
 public:
  Death(std::function<void()> kill, int events, std::chrono::milliseconds after)
      : kill_(std::move(kill)), left_(events), after_(after) {}

  // A client has heard something of the server.
  void Count();
  // Waits for it.
  void Await();
  bool has_come() const;

 private:
  const std::function<void()> kill_;
  mutable std::mutex mutex_;
  std::condition_variable come_;
  int left_;
  const std::chrono::milliseconds after_;
};

// What a client knows of a session.
struct KnownSession {
  std::string id;
  History history;
  uint64_t length = 0;
  // The session is as after so many steps, or later ones, whatever happens.
  size_t durable = 0;
  std::string last_request_id;  // of the last turn whose end is known

  // What was under way when the server died.
  struct Pending {
    // The session is as it was, or this and `step`, or there is none where `deletion`.
    History base;
    std::optional<Step> step;
    bool deletion = false;
    // Of a session that a turn ran on: what was durable of `step` by then, or nothing of it.
    bool is_fork = false;
    bool cancelled = false;
  };
  std::optional<Pending> pending;

  bool exists() const { return !history.empty(); }
  void Forget();
  // After an acknowledged step. Turns need not be durable by then.
  void Add(Step step, uint64_t new_length, bool is_durable);
};

// One client with some sessions of its own: turns, cancelled ones, forks, cuts, deletions at
// random.
class LoadClient {
 public:
  LoadClient(int number, uint64_t seed, Durability durability);

  // Until `death`, at which sessions() know what was pending. Any failure before is one of the
  // test.
  void Run(v1::ModelService::Stub& stub, Death& death);
  // A turn of a few tokens, with log-probabilities.
  v1::GenerateRequest RandomTurn(const KnownSession& session);
  std::vector<KnownSession>& sessions() { return sessions_; }
  int acknowledged_turns() const { return acknowledged_turns_; }

 private:
  static constexpr int kSessions = 4;
  static constexpr uint64_t kLongest = 100;  // tokens; four such fit into the pool of 512

  void Act();
  // What a turn's client does when it has seen `after` new tokens.
  struct Disturbance {
    enum class Kind { kNone, kCancel, kFork, kDeletion };
    Kind kind = Kind::kNone;
    size_t after = 0;
    KnownSession* fork = nullptr;  // what the session is forked to
    bool done = false;
    bool deleted = false;  // and acknowledged
  };
  Disturbance RandomDisturbance(const KnownSession& session);
  void Disturb(const KnownSession& session, const v1::GenerateRequest& request, size_t seen,
               grpc::ClientContext& context, Disturbance& disturbance);
  void TakeTurn(KnownSession& session);
  void Acknowledge(KnownSession& session, Step step, const Generation& seen);
  // After a cancelled turn: waits for its end, then looks what stands of it.
  void Settle(KnownSession& session, Step step);
  void CreateIt(KnownSession& session);
  void ForkBusy(const KnownSession& source, const v1::GenerateRequest& request, size_t seen,
                KnownSession& fork);
  void ForkIdle(const KnownSession& source, KnownSession& fork);
  void CutIt(KnownSession& session);
  void DeleteIt(KnownSession& session);
  // True: the call succeeded. False: the server had died.
  bool Succeeded(const grpc::Status& status);
  bool Chance(double probability);
  uint64_t Below(uint64_t limit);
  KnownSession* Other(const KnownSession& than, bool exists);
  v1::SamplingParameters RandomSampling();

  const Durability durability_;
  std::mt19937_64 random_;
  std::vector<KnownSession> sessions_;
  int requests_ = 0, acknowledged_turns_ = 0;
  v1::ModelService::Stub* stub_ = nullptr;
  Death* death_ = nullptr;
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_CRASH_LOAD_H_
