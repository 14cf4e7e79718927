#ifndef KVASIR_TESTS_SERVICES_CRASH_HISTORY_H_
#define KVASIR_TESTS_SERVICES_CRASH_HISTORY_H_

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/services/model_server.h"

namespace kvasir::testing {

// Something that was done to a session.
struct Step {
  enum class Kind { kCreate, kTurn, kTruncate };
  Kind kind = Kind::kTurn;
  v1::CreateSessionRequest create;
  v1::GenerateRequest turn;
  // Of a turn: what its client has seen.
  Ids ids;
  std::vector<v1::TokenLogprob> logprobs;
  // Of a turn that was cut off: so many new tokens of it stand.
  std::optional<uint32_t> kept;
  uint64_t length = 0;  // of a cut
};

Step CreateStep(v1::CreateSessionRequest request);
Step TurnStep(v1::GenerateRequest request, const Generation& seen);
Step TruncateStep(uint64_t length);

// All that was done to a session, its creation first: by kCreate, or by a turn that created it.
// Empty: there is no such session.
using History = std::vector<Step>;

// Whether ids and the bits of log-probabilities are equal in the first `count` tokens.
::testing::AssertionResult SameTokens(const Generation& expected, const Ids& ids,
                                      const std::vector<v1::TokenLogprob>& logprobs, size_t count);

// A server in memory that nothing happens to: what sessions come to when nobody disturbs them.
// Thread-safe.
class Reference {
 public:
  Reference();

  // A session on it, with the history that it was made of.
  class Run {
   public:
    Run(Reference& reference, const History& history);
    ~Run();
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

    // What the session was after so many steps.  REQUIRES: 0 < steps <= its history's.
    const Ids& After(size_t steps) const { return contents_[steps - 1]; }
    // Does one more step. A failure where the client has seen of a turn what does not come out of
    // it here. What it brought, where it is a turn.
    Generation Do(const Step& step);
    const Ids& tokens() const { return contents_.back(); }

   private:
    void Turn(const Step& step, Generation& generation);

    v1::ModelService::Stub& stub_;
    const std::string id_;
    std::vector<Ids> contents_;
  };

 private:
  ModelServer server_;
  std::atomic<uint64_t> runs_ = 0;
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_CRASH_HISTORY_H_
