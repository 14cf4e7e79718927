#ifndef KVASIR_SERVICES_GATEWAY_SESSION_KEEPER_H_
#define KVASIR_SERVICES_GATEWAY_SESSION_KEEPER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/gateway/kvasir_services.h"
#include "services/gateway/session_index.h"

namespace kvasir::gateway {

// Where a turn takes place: a session that holds the beginning of what is asked, and the rest.
struct Place {
  SessionIndex::Session session;  // no id: the call keeps nothing
  TokenIds held;                  // what the session holds
  TokenIds input;                 // what it is to be sent
  bool kept = true;               // for the next turn; else deleted after this one
};

// Sessions of the model service for requests that know nothing of sessions. Thread-safe.
class SessionKeeper {
 public:
  // `idle_limit`: after which a session of ours expires by itself, should the gateway be gone.
  SessionKeeper(KvasirServices& services, size_t capacity, absl::Duration idle_limit)
      : services_(services), index_(capacity), idle_limit_(idle_limit) {}

  // A place for what is asked: in the session that ends where the rest begins, in a fork of the
  // one that holds most of it, or in a new one. Each place is to be given to Close.
  absl::StatusOr<Place> Open(const Caller& caller, const TokenTable& table, const TokenIds& wanted);
  // In the session that the client has named, which is cut back to what is common, or made.
  // ABORTED where another request has it.
  absl::StatusOr<Place> OpenNamed(const Caller& caller, const TokenTable& table,
                                  const std::string& id, const TokenIds& wanted);
  // Without any session, or, where the place is to be forked, in a new one that is not kept.
  absl::StatusOr<Place> OpenOnce(const Caller& caller, const TokenIds& wanted, bool forked);

  // Another one that holds the same. REQUIRES: place.input is empty.
  absl::StatusOr<Place> Fork(const Caller& caller, const Place& place);

  // For a client that has named it.
  absl::Status DeleteNamed(const Caller& caller, const std::string& id);

  enum class Outcome {
    kComplete,     // the session holds what it held, the input and these
    kInterrupted,  // the same and more, or what it held
    kFailed,       // nobody knows
    kStale,        // it never held what it was thought to
  };
  void Close(const Caller& caller, const TokenTable& table, Place place, Outcome outcome,
             const TokenIds& generated);

 private:
  absl::StatusOr<Place> MakeNew(const Caller& caller, SessionIndex::Session session,
                                const TokenIds& wanted);
  // The first `common.held` of what `found` holds.
  absl::StatusOr<Place> ForkFrom(const Caller& caller, const TokenTable& table,
                                 SessionIndex::Found found, SessionIndex::Session session,
                                 const TokenIds& wanted);
  // A named session that is not known here, which this has claimed.
  absl::StatusOr<Place> TakeUp(const Caller& caller, const TokenTable& table,
                               const SessionIndex::Session& session, const TokenIds& wanted);
  absl::StatusOr<Place> CutTo(const Caller& caller, SessionIndex::Found found,
                              const TokenIds& wanted);
  absl::StatusOr<TokenIds> Settle(const Caller& caller, const std::string& id);
  absl::Status Delete(const SessionIndex::Session& session);

  KvasirServices& services_;
  SessionIndex index_;
  const absl::Duration idle_limit_;
};

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_SESSION_KEEPER_H_
