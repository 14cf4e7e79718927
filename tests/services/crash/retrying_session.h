#ifndef KVASIR_TESTS_SERVICES_CRASH_RETRYING_SESSION_H_
#define KVASIR_TESTS_SERVICES_CRASH_RETRYING_SESSION_H_

#include <chrono>
#include <map>
#include <optional>
#include <random>
#include <string>

#include "tests/services/crash/history.h"

namespace kvasir::testing {

// A session by a client that goes on where replicas come and go, with no more than the API
// promises: expected_length and request_id make a turn safe to repeat, and last_request_id and
// last_base_length tell whether one whose stream broke is there.
//
// Calls carry the header kvasir-session, by which a proxy routes.
class RetryingSession {
 public:
  static constexpr std::chrono::seconds kBudget{30};  // for one turn

  RetryingSession(std::string id, uint64_t seed);

  // A turn; the first creates the session. A failure where it does not succeed within kBudget, or
  // for another reason than that replicas come and go.
  void Turn(v1::ModelService::Stub& stub, const Ids& input, uint32_t max_new_tokens);

  const std::string& id() const { return id_; }
  const Ids& tokens() const { return tokens_; }
  // The turns, with all that was seen of them.
  const History& history() const { return history_; }
  // Tokens of the last turn that began which its replica had in its cache.
  uint32_t cached_tokens() const { return cached_tokens_; }

  struct Counts {
    int repeated = 0;                   // turns that were sent again
    int read_back = 0;                  // turns that were found there after their stream had broken
    int continued = 0;                  // of those, parts, which were continued
    std::map<std::string, int> causes;  // of retries: code and reason
    std::chrono::milliseconds longest{0};  // turn, with its retries

    Counts& operator+=(const Counts& other);
  };
  const Counts& counts() const { return counts_; }

 private:
  // One attempt at what is missing of the turn. True: it is whole.
  bool Attempt(v1::ModelService::Stub& stub);
  // What a stream brought: tokens that were seen before must come again.
  void See(const Generation& brought);
  // What is there of the turn, after its stream broke. True: all of it.
  bool LookUp(v1::ModelService::Stub& stub);
  bool ReadBack(v1::ModelService::Stub& stub, const v1::Session& session);
  // Waits before the next attempt; false, and a failure: `why` is no reason for one, or there is no
  // time left.
  bool MayRetry(const grpc::Status& why);
  void SetUp(grpc::ClientContext& context) const;
  Generation Call(v1::ModelService::Stub& stub, const v1::GenerateRequest& request) const;

  const std::string id_;
  std::mt19937_64 random_;
  Ids tokens_;
  History history_;
  uint32_t cached_tokens_ = 0;
  Counts counts_;

  // The turn under way.
  v1::GenerateRequest turn_;
  Generation seen_;    // of all its attempts together
  size_t stored_ = 0;  // new tokens that are known to be in the session, the input before them
  std::chrono::steady_clock::time_point give_up_;
  std::chrono::milliseconds pause_{0};
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_CRASH_RETRYING_SESSION_H_
