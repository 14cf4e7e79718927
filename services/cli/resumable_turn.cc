#include "services/cli/resumable_turn.h"

#include <algorithm>
#include <utility>

#include "engine/check.h"
#include "services/cli/interrupts.h"
#include "services/cli/random_id.h"
#include "services/cli/session_calls.h"
#include "services/grpc_status.h"

namespace kvasir::cli {

ResumableTurn::ResumableTurn(v1::ModelService::StubInterface& stub, v1::GenerateRequest request,
                             Retries& retries, Warn warn)
    : stub_(stub), whole_(std::move(request)), retries_(retries), warn_(std::move(warn)) {
  KVASIR_CHECK(!whole_.prompt_logprobs());
  if (in_session() && whole_.request_id().empty()) whole_.set_request_id(RandomId());
}

grpc::Status ResumableTurn::Run(const Sink& sink) {
  sink_ = &sink;
  if (in_session() && !whole_.has_expected_length()) {
    grpc::Status status = LearnBase();
    if (!status.ok()) return status;
  }
  attempt_ = whole_;
  grpc::Status status = Attempt();
  while (MayGoOn(status) && retries_.Again(status)) {
    has_broken_ = true;
    status = TakeStock(status);
    if (status.ok() && !complete_.has_value()) status = Attempt();
  }
  if (status.ok()) retries_.Progress();
  return status;
}

grpc::Status ResumableTurn::LearnBase() {
  v1::Session session;
  grpc::Status status;
  do {
    status = GetSession(stub_, whole_.session_id(), session);
  } while (!status.ok() && IsTransient(status) && retries_.Again(status));
  const bool missing = status.error_code() == grpc::StatusCode::NOT_FOUND;
  if (!status.ok() && !(missing && whole_.create_if_missing())) return status;
  whole_.set_expected_length(status.ok() ? session.length() : 0);
  retries_.Progress();
  return grpc::Status::OK;
}

grpc::Status ResumableTurn::Attempt() {
  grpc::ClientContext context;
  const Interrupts::Cancels cancels(context);
  AddHeaders(context, attempt_);
  const auto call = stub_.Generate(&context, attempt_);
  std::optional<v1::GenerateComplete> complete;
  v1::GenerateResponse response;
  while (call->Read(&response)) {
    if (response.has_started() && !has_started_) {
      started_ = response.started();
      has_started_ = true;
    }
    if (response.has_chunk()) Deliver(response.chunk());
    if (response.has_complete()) complete = response.complete();
  }
  grpc::Status status = call->Finish();
  if (complete.has_value()) {  // what is lost after it says nothing of the turn
    CompleteWith(*std::move(complete));
    return grpc::Status::OK;
  }
  if (status.ok()) return {grpc::StatusCode::INTERNAL, "the answer ended without its end"};
  return status;
}

bool ResumableTurn::MayGoOn(const grpc::Status& status) const {
  if (status.ok()) return false;
  if (IsTransient(status)) return true;
  // An attempt of ours that seemed lost may still run, or have come through.
  const std::string reason = DetailOf(status).reason;
  return has_broken_ && in_session() &&
         (reason == NameOf(Reason::kSessionBusy) || reason == NameOf(Reason::kLengthMismatch));
}

grpc::Status ResumableTurn::TakeStock(const grpc::Status& broke) {
  if (!in_session()) {
    AskForAll();
    return grpc::Status::OK;
  }
  v1::Session session;
  grpc::Status status = GetSession(stub_, whole_.session_id(), session);
  const uint64_t base = whole_.expected_length();
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
    // A server that cancelled the call by itself did so because the session was deleted, or it is
    // stopping; what was deleted must not come back.
    const bool may_create = base == 0 && whole_.create_if_missing() &&
                            broke.error_code() != grpc::StatusCode::CANCELLED;
    if (!may_create) return status;
    AskForAll();
    return grpc::Status::OK;
  }
  if (!status.ok()) return status;
  if (session.busy()) {
    return {grpc::StatusCode::UNAVAILABLE,
            "a call, perhaps our own, is still running on session '" + session.session_id() + "'"};
  }
  const uint64_t start = base + input_size();
  const bool ours = session.last_request_id() == whole_.request_id() &&
                    (session.last_base_length() == base || session.last_base_length() >= start) &&
                    session.last_base_length() <= session.length();
  if (session.length() == base) {
    AskForAll();
    return grpc::Status::OK;
  }
  if (ours && session.length() >= start) return TakeOver(session);
  return {grpc::StatusCode::ABORTED, "somebody else has written session '" + session.session_id() +
                                         "' meanwhile: its length " +
                                         std::to_string(session.length()) + " is not " +
                                         std::to_string(base) + ", and its last turn is not ours"};
}

grpc::Status ResumableTurn::TakeOver(const v1::Session& session) {
  const uint64_t start = whole_.expected_length() + input_size();
  std::vector<uint32_t> ids;
  grpc::Status status = ReadSession(stub_, session.session_id(), start, ids);
  if (!status.ok()) return status;
  if (start + ids.size() != session.length()) {
    return {grpc::StatusCode::UNAVAILABLE,
            "session '" + session.session_id() + "' changes while it is read"};
  }
  v1::TokenChunk chunk;
  chunk.mutable_ids()->Add(ids.begin(), ids.end());
  at_ = 0;
  Deliver(chunk);
  v1::FinishReason reason = v1::FINISH_REASON_UNSPECIFIED;
  status = HowEnded(session, reason);
  if (!status.ok()) return status;
  if (reason == v1::FINISH_REASON_UNSPECIFIED) {
    AskForRest(session.length());
    return grpc::Status::OK;
  }
  v1::GenerateComplete complete;
  complete.set_finish_reason(reason);
  complete.set_session_length(session.length());
  CompleteWith(std::move(complete));
  return grpc::Status::OK;
}

grpc::Status ResumableTurn::HowEnded(const v1::Session& session, v1::FinishReason& reason) {
  reason = session.last_finish_reason();
  if (reason != v1::FINISH_REASON_UNSPECIFIED && reason != v1::FINISH_REASON_INTERRUPTED) {
    return grpc::Status::OK;
  }
  // A server that crashed may have had the last token durable, and not yet that it was the last.
  reason = v1::FINISH_REASON_UNSPECIFIED;
  if (whole_.has_max_new_tokens() && at_ >= whole_.max_new_tokens()) {
    reason = v1::FINISH_REASON_MAX_NEW_TOKENS;
  }
  if (at_ == 0) return grpc::Status::OK;
  const uint32_t last = ids_[at_ - 1];
  const auto stops_at = [last](const google::protobuf::RepeatedField<uint32_t>& stops) {
    return std::find(stops.begin(), stops.end(), last) != stops.end();
  };
  grpc::ClientContext context;
  const Interrupts::Cancels cancels(context);
  v1::GetModelInfoResponse info;
  grpc::Status status = stub_.GetModelInfo(&context, {}, &info);
  if (!status.ok()) return status;
  if (stops_at(whole_.stop_token_ids()) ||
      (!whole_.ignore_eos() && stops_at(info.eos_token_ids()))) {
    reason = v1::FINISH_REASON_STOP_TOKEN;
  } else if (reason == v1::FINISH_REASON_UNSPECIFIED &&
             session.length() >= std::min<uint64_t>(info.max_context(), info.kv_tokens() + 1)) {
    // The last token of all needs no place in the KV pool.
    reason = v1::FINISH_REASON_MAX_CONTEXT;
  }
  return grpc::Status::OK;
}

void ResumableTurn::AskForAll() {
  attempt_ = whole_;
  if (has_started_) attempt_.mutable_sampling()->set_seed(started_.seed());
  at_ = 0;
}

void ResumableTurn::AskForRest(uint64_t length) {
  AskForAll();
  at_ = length - whole_.expected_length() - input_size();
  attempt_.clear_input_ids();
  attempt_.set_create_if_missing(false);
  attempt_.set_expected_length(length);
  if (whole_.has_max_new_tokens()) {
    attempt_.set_max_new_tokens(whole_.max_new_tokens() - static_cast<uint32_t>(at_));
  }
}

void ResumableTurn::Deliver(const v1::TokenChunk& chunk) {
  v1::TokenChunk fresh;
  for (int i = 0; i < chunk.ids_size(); ++i, ++at_) {
    const uint32_t id = chunk.ids(i);
    if (at_ == ids_.size()) {
      ids_.push_back(id);
      fresh.add_ids(id);
      if (i < chunk.logprobs_size()) *fresh.add_logprobs() = chunk.logprobs(i);
    } else if (ids_[at_] != id) {
      ids_[at_] = id;
      WarnOnce(
          "the turn was begun anew and came out otherwise than it was shown (have the server's "
          "numerics changed?); from here on it is as the server now has it");
    }
  }
  if (fresh.ids_size() == 0) return;
  retries_.Progress();
  (*sink_)(fresh);
}

void ResumableTurn::CompleteWith(v1::GenerateComplete complete) {
  if (at_ < ids_.size()) {
    ids_.resize(at_);
    WarnOnce("the turn is shorter than it was shown: the server has " + std::to_string(at_) +
             " tokens of it");
  }
  if (has_broken_) {
    complete.clear_timing();
    complete.mutable_usage()->set_input_tokens(static_cast<uint32_t>(input_size()));
    complete.mutable_usage()->set_generated_tokens(static_cast<uint32_t>(ids_.size()));
  }
  complete_ = std::move(complete);
}

void ResumableTurn::WarnOnce(const std::string& line) {
  if (!warned_) warn_(line);
  warned_ = true;
}

}  // namespace kvasir::cli
