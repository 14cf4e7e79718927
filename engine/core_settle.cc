// How a call's end, or its tokens one by one, become durable before anyone hears of them.
#include <algorithm>
#include <utility>

#include "engine/check.h"
#include "engine/core.h"
#include "engine/error.h"

namespace kvasir {

bool Engine::Core::IsStored(const Call& call) const {
  return sessions_.has_store() && call.one_shot == nullptr;
}

void Engine::Core::Settle(Call& call, FinishReason reason) {
  Session& session = *call.session;
  session.last_use_time = absl::Now();
  session.last_request_id = call.request.request_id;
  session.last_base_length = call.base_length;
  session.last_finish_reason = reason;
  if (session.ttl) sessions_.ExpectExpiry();
  // What this call alone brought into being goes with it.
  const bool nothing = call.created_session && session.committed == 0;
  if (!IsStored(call) || nothing) {
    Answer(call, absl::OkStatus());
  } else if (durability_ == Durability::kNone) {
    sessions_.Save(session, session.committed, session,
                   [this, id = session.id](const absl::Status& saved) {
                     Session* late = saved.ok() ? nullptr : table_.Find(id);
                     if (late != nullptr) Lose(*late, saved);
                   });
    Answer(call, absl::OkStatus());
  } else if (!call.saving) {  // else when that is done
    Save(call);
  }
}

void Engine::Core::Save(Call& call) {
  KVASIR_CHECK(!call.saving);
  call.saving = true;
  Session& session = *call.session;
  SessionMetadata metadata = session;
  if (!call.settling) {  // as it would be found after a crash
    metadata.last_use_time = absl::Now();
    metadata.last_request_id = call.request.request_id;
    metadata.last_base_length = call.base_length;
    metadata.last_finish_reason = FinishReason::kInterrupted;
  }
  const bool last = call.settling;
  sessions_.Save(session, session.committed, metadata,
                 [this, id = call.id, tokens = call.unsent_ids.size(),
                  last](const absl::Status& saved) { OnSaved(id, tokens, last, saved); });
}

void Engine::Core::OnSaved(CallId id, size_t tokens, bool last, const absl::Status& saved) {
  Call& call = *calls_.at(id);  // a call that is saving is not forgotten
  call.saving = false;
  if (!saved.ok() || last) {
    if (!call.settling) Leave(call);
    Answer(call, saved);
    return;
  }
  Send(call, tokens);
  if (call.settling || !call.unsent_ids.empty()) Save(call);
}

void Engine::Core::Send(Call& call, size_t tokens) {
  const auto count = static_cast<ptrdiff_t>(tokens);
  if (count == 0) return;
  const std::span<const TokenLogprob> logprobs(call.unsent_logprobs);
  call.sink->OnTokens(std::span(call.unsent_ids).first(tokens),
                      logprobs.empty() ? logprobs : logprobs.first(tokens), {});
  call.unsent_ids.erase(call.unsent_ids.begin(), call.unsent_ids.begin() + count);
  if (!logprobs.empty()) {
    call.unsent_logprobs.erase(call.unsent_logprobs.begin(), call.unsent_logprobs.begin() + count);
  }
}

void Engine::Core::Answer(Call& call, const absl::Status& saved) {
  Session& session = *call.session;
  const std::string id = session.id;
  session.busy = false;
  session.shown.reset();
  sessions_.LetGo(session);
  if (saved.ok()) {
    Send(call, call.unsent_ids.size());
  } else if (call.error.ok()) {
    call.error = saved;
  }
  // What the store has is not known, or what the call alone brought into being goes with it.
  call.sink->OnReport(ReportOf(call));
  const bool gone = !saved.ok() || (call.created_session && session.committed == 0);
  if (call.one_shot == nullptr) {
    if (gone) {
      sessions_.Drop(session);
    } else {
      sessions_.Settled(session);
    }
  }
  if (call.error.ok()) {
    call.sink->OnComplete(call.complete);
  } else {
    call.sink->OnError(InIdsOf(call.request.tenant, call.error));
  }
  Forget(call);
  WakeWaiting(id);
}

GenerateReport Engine::Core::ReportOf(const Call& call) const {
  GenerateReport report = {.prompt_tokens = call.input_end(),
                           .input_tokens = static_cast<uint32_t>(call.request.input_ids.size()),
                           .cached_tokens = call.cached_tokens,
                           .computed_tokens = call.computed_tokens,
                           .generated_tokens = call.generated,
                           .arrived = call.arrived,
                           .opened = call.opened,
                           .admitted = call.admitted,
                           .first_token = call.first_token,
                           .generated = call.ended,
                           .settled = IsStored(call) ? absl::Now() : call.ended};
  if (call.error.ok()) report.finish_reason = call.complete.finish_reason;
  return report;
}

Call* Engine::Core::CallOn(const Session& session) {
  const auto found = std::find_if(calls_.begin(), calls_.end(), [&](const auto& entry) {
    return entry.second->session == &session;
  });
  return found != calls_.end() ? found->second.get() : nullptr;
}

void Engine::Core::Lose(Session& session, const absl::Status& why) {
  if (!session.busy) {
    sessions_.Drop(session);
    return;
  }
  Call* call = CallOn(session);
  // What is on its way to the store will fail there, and end the call.
  if (call == nullptr || call->settling || call->saving) return;
  Leave(*call);
  session.tokens.resize(session.committed);
  cache_.Truncate(session, session.committed);
  Answer(*call, why);
}

void Engine::Core::WakeWaiting(const std::string& id) {
  const auto found = waiting_.find(id);
  if (found == waiting_.end()) return;
  std::vector<Mailbox::Task> tasks = std::move(found->second);
  waiting_.erase(found);
  for (Mailbox::Task& task : tasks) task();
}

}  // namespace kvasir
