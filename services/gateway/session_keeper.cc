#include "services/gateway/session_keeper.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/error.h"
#include "services/cli/random_id.h"
#include "services/proto_time.h"

namespace kvasir::gateway {
namespace {

using ModelStub = v1::ModelService::Stub;

constexpr std::chrono::milliseconds kSettlePoll(5);
constexpr int kSettlePolls = 400;
constexpr char kLabel[] = "made-by", kLabelValue[] = "kvasir-gateway";

TokenIds After(const TokenIds& ids, size_t count) {
  return {ids.begin() + static_cast<ptrdiff_t>(count), ids.end()};
}

absl::Status Busy(const std::string& id) {
  return MakeError(Reason::kSessionBusy,
                   absl::StrCat("session_id: another request runs on session ", id),
                   {{"field", "session_id"}});
}

bool HasReason(const absl::Status& status, Reason reason) {
  return DetailOf(status).reason == NameOf(reason);
}

}  // namespace

absl::StatusOr<Place> SessionKeeper::Open(const Caller& caller, const TokenTable& table,
                                          const TokenIds& wanted) {
  const SessionIndex::Session fresh = {caller.authorization, cli::RandomId()};
  std::optional<SessionIndex::Found> found = index_.Find(table, caller.authorization, wanted);
  if (found.has_value() && found->taken) {
    return Place{found->session, std::move(found->ids), After(wanted, found->common.wanted)};
  }
  index_.Claim(fresh);
  if (found.has_value()) {
    absl::StatusOr<Place> fork = ForkFrom(caller, table, *std::move(found), fresh, wanted);
    if (fork.ok()) return fork;
  }
  absl::StatusOr<Place> made = MakeNew(caller, fresh, wanted);
  if (made.ok()) return made;
  index_.Drop(fresh);
  // A tenant that may keep no more sessions is answered all the same.
  return HasReason(made.status(), Reason::kQuota) ? OpenOnce(caller, wanted, /*forked=*/false)
                                                  : made;
}

absl::StatusOr<Place> SessionKeeper::OpenNamed(const Caller& caller, const TokenTable& table,
                                               const std::string& id, const TokenIds& wanted) {
  const SessionIndex::Session session = {caller.authorization, id, /*ours=*/false};
  bool busy = false;
  std::optional<SessionIndex::Found> found =
      index_.Take(table, caller.authorization, id, wanted, busy);
  if (busy) return Busy(id);
  if (found.has_value()) {
    absl::StatusOr<Place> place = CutTo(caller, *std::move(found), wanted);
    if (place.ok()) return place;
    index_.Drop(session);  // somebody else has written or deleted it
  }
  if (!index_.Claim(session)) return Busy(id);
  absl::StatusOr<Place> place = TakeUp(caller, table, session, wanted);
  if (!place.ok() && place.status().code() == absl::StatusCode::kNotFound) {
    found = index_.Find(table, caller.authorization, wanted);
    if (found.has_value()) {
      place = ForkFrom(caller, table, *std::move(found), session, wanted);
    }
    if (!place.ok()) place = MakeNew(caller, session, wanted);
  }
  if (!place.ok()) index_.Drop(session);
  return place;
}

absl::StatusOr<Place> SessionKeeper::OpenOnce(const Caller& caller, const TokenIds& wanted,
                                              bool forked) {
  if (!forked) return Place{{caller.authorization, ""}, {}, wanted, /*kept=*/false};
  const SessionIndex::Session session = {caller.authorization, cli::RandomId()};
  absl::StatusOr<Place> place = MakeNew(caller, session, wanted);
  if (place.ok()) place->kept = false;
  return place;
}

absl::StatusOr<Place> SessionKeeper::MakeNew(const Caller& caller, SessionIndex::Session session,
                                             const TokenIds& wanted) {
  v1::CreateSessionRequest request;
  request.set_session_id(session.id);
  if (session.ours) {
    *request.mutable_ttl() = ToProto(idle_limit_);
    (*request.mutable_labels())[kLabel] = kLabelValue;
  }
  v1::CreateSessionResponse response;
  absl::Status status =
      services_.Call(services_.model(), &ModelStub::CreateSession, caller, request, response);
  if (!status.ok()) return status;
  return Place{std::move(session), {}, wanted};
}

absl::StatusOr<Place> SessionKeeper::ForkFrom(const Caller& caller, const TokenTable& table,
                                              SessionIndex::Found found,
                                              SessionIndex::Session session,
                                              const TokenIds& wanted) {
  v1::ForkSessionRequest request;
  request.set_session_id(found.session.id);
  request.set_new_session_id(session.id);
  request.set_length(found.common.held);
  v1::ForkSessionResponse response;
  const absl::Status status =
      services_.Call(services_.model(), &ModelStub::ForkSession, caller, request, response);
  // It stays whoever's it was.
  const bool gone = status.code() == absl::StatusCode::kNotFound ||
                    status.code() == absl::StatusCode::kOutOfRange;
  if (found.taken && !gone) index_.Put(table, found.session, found.ids);
  if (gone) index_.Drop(found.session);
  if (!status.ok()) return status;
  found.ids.resize(found.common.held);
  return Place{std::move(session), std::move(found.ids), After(wanted, found.common.wanted)};
}

absl::StatusOr<Place> SessionKeeper::TakeUp(const Caller& caller, const TokenTable& table,
                                            const SessionIndex::Session& session,
                                            const TokenIds& wanted) {
  absl::StatusOr<TokenIds> ids = services_.ReadSession(caller, session.id);
  if (!ids.ok()) return ids.status();
  const CommonPart common = FindCommonPart(table, *ids, wanted);
  return CutTo(caller, {session, *std::move(ids), common, /*taken=*/true}, wanted);
}

absl::StatusOr<Place> SessionKeeper::CutTo(const Caller& caller, SessionIndex::Found found,
                                           const TokenIds& wanted) {
  if (found.common.held < found.ids.size()) {
    v1::TruncateSessionRequest request;
    request.set_session_id(found.session.id);
    request.set_length(found.common.held);
    request.set_expected_length(found.ids.size());
    v1::TruncateSessionResponse response;
    absl::Status status =
        services_.Call(services_.model(), &ModelStub::TruncateSession, caller, request, response);
    if (!status.ok()) return status;
    found.ids.resize(found.common.held);
  }
  return Place{std::move(found.session), std::move(found.ids), After(wanted, found.common.wanted)};
}

absl::StatusOr<Place> SessionKeeper::Fork(const Caller& caller, const Place& place) {
  const SessionIndex::Session session = {place.session.tenant, cli::RandomId()};
  v1::ForkSessionRequest request;
  request.set_session_id(place.session.id);
  request.set_new_session_id(session.id);
  request.set_length(place.held.size());
  v1::ForkSessionResponse response;
  absl::Status status =
      services_.Call(services_.model(), &ModelStub::ForkSession, caller, request, response);
  if (!status.ok()) return status;
  if (place.kept) index_.Claim(session);
  return Place{session, place.held, {}, place.kept};
}

// A call that was cut short is settled before its session stops being busy.
absl::StatusOr<TokenIds> SessionKeeper::Settle(const Caller& caller, const std::string& id) {
  v1::GetSessionRequest request;
  request.set_session_id(id);
  v1::GetSessionResponse response;
  for (int i = 0; i < kSettlePolls; ++i) {
    absl::Status status =
        services_.Call(services_.model(), &ModelStub::GetSession, caller, request, response);
    if (!status.ok()) return status;
    if (!response.session().busy()) return services_.ReadSession(caller, id);
    std::this_thread::sleep_for(kSettlePoll);
  }
  return absl::AbortedError("the session stays busy");
}

void SessionKeeper::Close(const Caller& caller, const TokenTable& table, Place place,
                          Outcome outcome, const TokenIds& generated) {
  if (place.session.id.empty()) return;
  // One that cannot be deleted now expires.
  if (!place.kept) return (void)Delete(place.session);
  TokenIds ids = std::move(place.held);
  if (outcome == Outcome::kComplete) {
    ids.insert(ids.end(), place.input.begin(), place.input.end());
    ids.insert(ids.end(), generated.begin(), generated.end());
  } else if (outcome == Outcome::kInterrupted) {
    absl::StatusOr<TokenIds> settled = Settle(caller, place.session.id);
    if (settled.ok()) ids = *std::move(settled);
  }
  // Of a failed call we take what it held before for what it holds: where that is wrong, the next
  // turn finds it out by expected_length.
  if (outcome == Outcome::kStale || ids.empty()) {
    index_.Drop(place.session);
    if (place.session.ours) (void)Delete(place.session);
    return;
  }
  for (const SessionIndex::Session& session : index_.Put(table, place.session, std::move(ids))) {
    (void)Delete(session);
  }
}

absl::Status SessionKeeper::Delete(const SessionIndex::Session& session) {
  v1::DeleteSessionRequest request;
  request.set_session_id(session.id);
  v1::DeleteSessionResponse response;
  return services_.Call(services_.model(), &ModelStub::DeleteSession,
                        Caller{.authorization = session.tenant, .traceparent = ""}, request,
                        response);
}

absl::Status SessionKeeper::DeleteNamed(const Caller& caller, const std::string& id) {
  const SessionIndex::Session session = {caller.authorization, id, /*ours=*/false};
  absl::Status status = Delete(session);
  if (status.ok()) index_.Drop(session);
  return status;
}

}  // namespace kvasir::gateway
