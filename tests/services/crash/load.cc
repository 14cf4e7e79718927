#include "tests/services/crash/load.h"

#include <gtest/gtest.h>

#include <thread>
#include <utility>

namespace kvasir::testing {

void Death::Count() {
  const std::lock_guard lock(mutex_);
  if (left_ == 0 || --left_ > 0) return;
  kill_();  // before whoever counts goes on
  come_.notify_all();
}

void Death::Await() {
  std::unique_lock lock(mutex_);
  come_.wait_for(lock, after_, [&] { return left_ == 0; });
  if (left_ == 0) return;
  left_ = 0;
  kill_();
}

bool Death::has_come() const {
  const std::lock_guard lock(mutex_);
  return left_ == 0;
}

void KnownSession::Forget() {
  history.clear();
  length = 0;
  durable = 0;
  last_request_id.clear();
}

void KnownSession::Add(Step step, uint64_t new_length, bool is_durable) {
  history.push_back(std::move(step));
  length = new_length;
  if (is_durable) durable = history.size();
}

LoadClient::LoadClient(int number, uint64_t seed, Durability durability)
    : durability_(durability), random_(seed * 1000 + number) {
  for (int i = 0; i < kSessions; ++i) {
    KnownSession& session = sessions_.emplace_back();
    session.id = "client" + std::to_string(number) + "-" + std::to_string(i);
  }
}

bool LoadClient::Chance(double probability) {
  return std::bernoulli_distribution(probability)(random_);
}

uint64_t LoadClient::Below(uint64_t limit) {
  return std::uniform_int_distribution<uint64_t>(0, limit - 1)(random_);
}

KnownSession* LoadClient::Other(const KnownSession& than, bool exists) {
  for (KnownSession& session : sessions_) {
    if (&session != &than && session.exists() == exists && !session.pending) return &session;
  }
  return nullptr;
}

bool LoadClient::Succeeded(const grpc::Status& status) {
  if (status.ok()) {
    death_->Count();
    return true;
  }
  EXPECT_TRUE(death_->has_come()) << status.error_code() << ": " << status.error_message();
  // Also where it should not have been refused: nobody goes on from what he does not know.
  return false;
}

void LoadClient::Run(v1::ModelService::Stub& stub, Death& death) {
  stub_ = &stub;
  death_ = &death;
  while (!death.has_come() && !::testing::Test::HasFailure()) Act();
}

void LoadClient::Act() {
  KnownSession& session = sessions_[Below(kSessions)];
  if (!session.exists()) {
    if (Chance(0.5)) {
      CreateIt(session);
    } else {
      TakeTurn(session);
    }
    return;
  }
  if (session.length > kLongest) {
    if (Chance(0.5)) {
      CutIt(session);
    } else {
      DeleteIt(session);
    }
    return;
  }
  const uint64_t dice = Below(100);
  if (dice < 8) {
    CutIt(session);
  } else if (dice < 14) {
    DeleteIt(session);
  } else if (KnownSession* fork = dice < 24 ? Other(session, false) : nullptr) {
    ForkIdle(session, *fork);
  } else {
    TakeTurn(session);
  }
}

// --- what is asked for --------------------------------------------------------------------------

v1::SamplingParameters LoadClient::RandomSampling() {
  v1::SamplingParameters sampling;
  if (Chance(0.7)) sampling.set_temperature(static_cast<float>(Below(16)) / 10);
  if (Chance(0.2)) sampling.set_top_k(1 + Below(50));
  if (Chance(0.2)) sampling.set_top_p(0.8F);
  if (Chance(0.2)) sampling.set_repetition_penalty(1.2F);
  if (Chance(0.2)) sampling.set_frequency_penalty(0.5F);
  if (Chance(0.3)) sampling.set_seed(random_());
  return sampling;
}

v1::GenerateRequest LoadClient::RandomTurn(const KnownSession& session) {
  Ids input = SomeIds(Below(12), random_());
  if (session.length == 0) input.push_back(7);
  v1::GenerateRequest request = AskFor(session.id, input, 1 + Below(12));
  request.set_request_id(session.id + "/" + std::to_string(requests_++));
  request.set_top_logprobs(Below(3));
  *request.mutable_sampling() = RandomSampling();
  if (Chance(0.3)) {
    for (const uint32_t id : SomeIds(40, random_())) request.add_stop_token_ids(id);
  }
  if (Chance(0.2)) request.set_prompt_logprobs(true);
  if (Chance(0.05) && !input.empty()) request.set_max_new_tokens(0);
  if (Chance(0.5)) request.set_expected_length(session.length);
  if (!session.exists()) {
    request.set_create_if_missing(true);
    request.mutable_sampling()->set_seed(random_());  // else nobody knows it
  }
  return request;
}

// --- turns --------------------------------------------------------------------------------------

LoadClient::Disturbance LoadClient::RandomDisturbance(const KnownSession& session) {
  Disturbance disturbance;
  disturbance.after = Below(6);
  const uint64_t dice = Below(100);
  if (dice < 15) {
    disturbance.kind = Disturbance::Kind::kCancel;
  } else if (dice < 20) {
    disturbance.kind = Disturbance::Kind::kDeletion;
  } else if (dice < 30 && session.exists()) {
    disturbance.fork = Other(session, false);
    if (disturbance.fork != nullptr) disturbance.kind = Disturbance::Kind::kFork;
  }
  return disturbance;
}

void LoadClient::Disturb(const KnownSession& session, const v1::GenerateRequest& request,
                         size_t seen, grpc::ClientContext& context, Disturbance& disturbance) {
  if (disturbance.done || seen < disturbance.after) return;
  disturbance.done = true;
  switch (disturbance.kind) {
    case Disturbance::Kind::kNone:
      return;
    case Disturbance::Kind::kCancel:
      context.TryCancel();
      return;
    case Disturbance::Kind::kFork:
      ForkBusy(session, request, seen, *disturbance.fork);
      return;
    case Disturbance::Kind::kDeletion:
      disturbance.deleted = Succeeded(Delete(*stub_, session.id));
      return;
  }
}

void LoadClient::TakeTurn(KnownSession& session) {
  using Kind = Disturbance::Kind;
  const v1::GenerateRequest request = RandomTurn(session);
  Disturbance disturbance = RandomDisturbance(session);
  grpc::ClientContext context;
  const Generation seen = Generate(*stub_, request, context, [&](const Generation& so_far) {
    death_->Count();
    Disturb(session, request, so_far.ids.size(), context, disturbance);
  });
  Step step = TurnStep(request, seen);
  const Kind kind = disturbance.done ? disturbance.kind : Kind::kNone;
  const bool deletion = kind == Kind::kDeletion;
  if (disturbance.deleted) {
    EXPECT_TRUE(seen.complete || !seen.status.ok());
    session.Forget();
  } else if (seen.complete) {
    Acknowledge(session, std::move(step), seen);
    if (deletion) session.pending = {.deletion = true};
  } else if (kind == Kind::kCancel && seen.status.error_code() == grpc::CANCELLED) {
    Settle(session, std::move(step));
  } else if (deletion || !Succeeded(seen.status)) {
    session.pending = {.base = session.history,
                       .step = std::move(step),
                       .deletion = deletion,
                       .cancelled = kind == Kind::kCancel || deletion};
  }
}

void LoadClient::Acknowledge(KnownSession& session, Step step, const Generation& seen) {
  death_->Count();
  ++acknowledged_turns_;
  EXPECT_EQ(seen.complete->session_length(),
            session.length + step.turn.input_ids_size() + seen.ids.size());
  session.last_request_id = step.turn.request_id();
  session.Add(std::move(step), seen.complete->session_length(), durability_ != Durability::kNone);
}

void LoadClient::Settle(KnownSession& session, Step step) {
  v1::Session found;
  while (true) {
    const grpc::Status status = Get(*stub_, session.id, found);
    if (status.error_code() == grpc::NOT_FOUND && !session.exists()) return;
    if (!Succeeded(status)) {
      session.pending = {.base = session.history, .step = std::move(step), .cancelled = true};
      return;
    }
    if (!found.busy()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  session.last_request_id = step.turn.request_id();
  if (found.length() == session.length && session.exists()) return;  // nothing stands of it
  const uint64_t before = session.length + step.turn.input_ids_size();
  EXPECT_GE(found.length(), before + step.ids.size()) << session.id;
  step.kept = static_cast<uint32_t>(found.length() - before);
  session.Add(std::move(step), found.length(), durability_ != Durability::kNone);
}

// --- the other calls ----------------------------------------------------------------------------

void LoadClient::CreateIt(KnownSession& session) {
  v1::CreateSessionRequest request;
  request.set_session_id(session.id);
  const Ids ids = SomeIds(Below(20), random_());
  request.mutable_initial_ids()->Add(ids.begin(), ids.end());
  *request.mutable_sampling() = RandomSampling();
  request.mutable_sampling()->set_seed(random_());
  Step step = CreateStep(request);
  if (Succeeded(Create(*stub_, request))) {
    session.Add(std::move(step), ids.size(), true);
  } else {
    session.pending = {.step = std::move(step)};
  }
}

void LoadClient::ForkBusy(const KnownSession& source, const v1::GenerateRequest& request,
                          size_t seen, KnownSession& fork) {
  v1::ForkSessionRequest question;
  question.set_session_id(source.id);
  question.set_new_session_id(fork.id);
  v1::Session made;
  Step turn = TurnStep(request, {});
  if (!Succeeded(Fork(*stub_, question, &made))) {
    fork.pending = {.base = source.history, .step = std::move(turn), .is_fork = true};
    return;
  }
  // By turn, what the client has seen of a turn that runs is nobody else's yet.
  const bool has_seen = seen > 0 && durability_ != Durability::kTurn;
  const uint64_t least = source.length + (has_seen ? request.input_ids_size() + seen : 0);
  EXPECT_GE(made.length(), least) << fork.id;
  fork.history = source.history;
  if (made.length() > source.length) fork.history.push_back(std::move(turn));
  fork.Add(TruncateStep(made.length()), made.length(), true);
}

void LoadClient::ForkIdle(const KnownSession& source, KnownSession& fork) {
  v1::ForkSessionRequest request;
  request.set_session_id(source.id);
  request.set_new_session_id(fork.id);
  const uint64_t length = Chance(0.5) ? source.length : Below(source.length + 1);
  if (length < source.length || Chance(0.5)) request.set_length(length);
  Step cut = TruncateStep(length);
  if (Succeeded(Fork(*stub_, request))) {
    fork.history = source.history;
    fork.Add(std::move(cut), length, true);
  } else {
    fork.pending = {.base = source.history, .step = std::move(cut)};
  }
}

void LoadClient::CutIt(KnownSession& session) {
  v1::TruncateSessionRequest request;
  request.set_session_id(session.id);
  request.set_length(Below(session.length + 1));
  if (Chance(0.5)) request.set_expected_length(session.length);
  Step step = TruncateStep(request.length());
  if (Succeeded(Truncate(*stub_, request))) {
    session.Add(std::move(step), request.length(), true);
  } else {
    session.pending = {.base = session.history, .step = std::move(step)};
  }
}

void LoadClient::DeleteIt(KnownSession& session) {
  if (Succeeded(Delete(*stub_, session.id))) {
    session.Forget();
  } else {
    session.pending = {.deletion = true};
  }
}

}  // namespace kvasir::testing
