#ifndef KVASIR_SERVICES_GATEWAY_TURN_H_
#define KVASIR_SERVICES_GATEWAY_TURN_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/gateway/kvasir_services.h"
#include "services/gateway/openai_request.h"
#include "services/gateway/session_keeper.h"

namespace kvasir::gateway {

// The answers to a request's prompts: a Generate call for each choice, all at the same time, those
// of one prompt in sessions that fork where it ends. Calls whose caller has gone are cancelled.
class Turn {
 public:
  struct Event {
    size_t choice = 0;
    const v1::TokenChunk* chunk = nullptr;  // null: the choice has ended,
    absl::Status status;                    // so,
    bool by_length = false;                 // and because it was long enough
  };

  // REQUIRES: services and keeper outlive this. `gone`: whether the caller has.
  Turn(KvasirServices& services, SessionKeeper& keeper, Caller caller,
       std::shared_ptr<const KvasirServices::Facts> facts, std::function<bool()> gone);
  // Cancels what still runs. Returns when the sessions can be used again.
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  // Adds a prompt's options.n choices, and returns once the first has been admitted. `keeps`: the
  // next turn may go on from them.
  absl::Status Start(const AnswerOptions& options, const TokenIds& prompt, bool keeps);
  // Waits for what happens next; false: every choice has ended. An event is good until the next
  // call.
  bool Next(Event& event);
  // Nothing more is wanted of this choice: it ends soon.
  void Stop(size_t choice);

  // Of the prompts, tokens that need not be computed.
  uint64_t cached_tokens() const { return cached_tokens_; }

 private:
  // One Generate call. The completion queue holds at most one operation of it.
  struct Choice {
    size_t index = 0;
    Place place;
    v1::GenerateRequest request;
    bool closes = true;  // its place, once it has ended
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientAsyncReader<v1::GenerateResponse>> call;
    v1::GenerateResponse response;
    grpc::Status status;
    enum class State { kStarting, kReading, kReported, kFinishing, kEnded };
    State state = State::kStarting;
    std::optional<uint64_t> cached_tokens;  // GenerateStarted came
    bool cancelled = false;
    std::optional<v1::GenerateComplete> complete;
    TokenIds generated;
  };
  using Clock = std::chrono::steady_clock;

  absl::StatusOr<Place> OpenPlace(const AnswerOptions& options, const TokenIds& prompt, bool keeps);
  v1::GenerateRequest RequestFor(const AnswerOptions& options, const Place& place,
                                 uint64_t seed) const;
  // The first choice of one, admitted.
  absl::Status StartOne(const AnswerOptions& options, Place place);
  // Reads the prompt first, once for all.
  absl::Status StartSeveral(const AnswerOptions& options, Place place);
  Choice& Begin(Place place, v1::GenerateRequest request, bool closes);
  // Lets a choice go on until it has been admitted or, `wholly`, has ended.
  absl::Status Await(Choice& choice, bool wholly);
  // The last choice, which has ended, was none.
  void Forget();
  // Whether there is something to be told of it: a chunk, or its end.
  bool Advance(Choice& choice, bool ok);
  void Read(Choice& choice);
  void Cancel(Choice& choice);
  void CancelIfGone();
  // What the queue has next, after at most kGonePeriod: the choice, if there is something to be
  // told of it, else null.
  Choice* Poll();
  void Close(Choice& choice);

  KvasirServices& services_;
  SessionKeeper& keeper_;
  const Caller caller_;
  const std::shared_ptr<const KvasirServices::Facts> facts_;
  const std::function<bool()> gone_;
  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<Choice>> choices_;
  size_t ended_ = 0;
  Clock::time_point asked_;   // whether the caller has gone
  std::deque<Choice*> told_;  // of which something came while others were awaited
  Choice* read_ = nullptr;    // whose chunk the caller has
  uint64_t seed_ = 0;         // of the prompt's first choice
  uint64_t cached_tokens_ = 0;
};

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_TURN_H_
