#ifndef KVASIR_SERVICES_CLI_RESUMABLE_TURN_H_
#define KVASIR_SERVICES_CLI_RESUMABLE_TURN_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kvasir/v1/model.grpc.pb.h"
#include "services/cli/retries.h"

namespace kvasir::cli {

// One turn (a Generate call with what it takes to bring it to its end) over servers that fail and
// ways that break. What was asked for is appended to the session at most once, and each token is
// given out once.
//
// How: each attempt is a compare-and-append (expected_length) under one request_id. After an
// attempt that broke, the session tells what became of it:
//   - it holds our input and some of our answer (last_request_id is ours): what we have not given
//     out is read from it; if that is not the whole answer, the next attempt asks for the rest;
//   - it is as long as before: the attempt is repeated; invariant I1 and the kept seed make it come
//     out the same, so that what was given out already is dropped;
//   - a call runs on it: that may be ours, so we wait;
//   - else somebody else has written it: an error.
// A call without a session is repeated with the seed that the first attempt began with.
class ResumableTurn {
 public:
  // New tokens. Those that were read from the session come without log-probabilities, whether or
  // not they were asked for.
  using Sink = std::function<void(const v1::TokenChunk& chunk)>;
  // A line: something is not as it was promised, and the turn goes on.
  using Warn = std::function<void(const std::string&)>;

  // In a session: where the request has no expected_length, the session is asked for it; where it
  // has no request_id, it gets a random one. REQUIRES: no prompt_logprobs are asked for; `stub` and
  // `retries` outlive this.
  ResumableTurn(v1::ModelService::StubInterface& stub, v1::GenerateRequest request,
                Retries& retries, Warn warn);

  // OK: the turn is whole. CANCELLED: Ctrl-C came, during a call or while waiting. ABORTED without
  // a reason in its details: somebody else has written the session. Else why it ended, or was given
  // up. To be called once.
  grpc::Status Run(const Sink& sink);

  // Of the first attempt that began.
  const v1::GenerateStarted& started() const { return started_; }
  // What was given out; after a warning that they differ, what the session holds.
  const std::vector<uint32_t>& ids() const { return ids_; }
  // Where the turn is whole: how it ended, and the session's length. Where it was not
  // brought by one attempt, usage is of the whole as far as it is known, and there is no timing.
  const std::optional<v1::GenerateComplete>& complete() const { return complete_; }

 private:
  uint64_t input_size() const { return static_cast<uint64_t>(whole_.input_ids_size()); }
  bool in_session() const { return !whole_.session_id().empty(); }

  grpc::Status LearnBase();
  grpc::Status Attempt();
  // Whether the attempt that ended so may have left something behind, or come too early.
  bool MayGoOn(const grpc::Status& status) const;
  // After an attempt that `broke`: makes attempt_ what is still to be asked for, or sets complete_.
  grpc::Status TakeStock(const grpc::Status& broke);
  // The session holds our turn as far as `length`.
  grpc::Status TakeOver(const v1::Session& session);
  // How the turn has ended that the session holds all of; FINISH_REASON_UNSPECIFIED: it has not.
  grpc::Status HowEnded(const v1::Session& session, v1::FinishReason& reason);

  // The next attempt is the whole turn.
  void AskForAll();
  // The next attempt continues from a session of `length`.
  void AskForRest(uint64_t length);
  // The turn's next tokens: gives out what is new, checks what is not.
  void Deliver(const v1::TokenChunk& chunk);
  void CompleteWith(v1::GenerateComplete complete);
  void WarnOnce(const std::string& line);

  v1::ModelService::StubInterface& stub_;
  v1::GenerateRequest whole_;    // as it was asked for
  v1::GenerateRequest attempt_;  // the next call, or the one that runs
  Retries& retries_;
  const Warn warn_;
  const Sink* sink_ = nullptr;

  bool has_broken_ = false;
  bool warned_ = false;
  v1::GenerateStarted started_;
  bool has_started_ = false;
  std::vector<uint32_t> ids_;
  size_t at_ = 0;  // of the answer, as far as the current attempt has come: ids_[at_] is next
  std::optional<v1::GenerateComplete> complete_;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_RESUMABLE_TURN_H_
