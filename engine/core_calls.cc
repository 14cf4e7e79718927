// The life of a Generate call: checked, begun, ended.
#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/cache/session_key.h"
#include "engine/check.h"
#include "engine/core.h"
#include "engine/error.h"

namespace kvasir {
namespace {

constexpr uint32_t kMaxTopLogprobs = 20;
constexpr size_t kMaxRequestId = 128;
// New tokens that a session gets memory for in advance; beyond, its vectors double.
constexpr size_t kReservedTokens = 4096;

absl::Status Invalid(std::string_view field, std::string_view what) {
  return MakeError(Reason::kInvalidField, absl::StrCat(std::string(field), ": ", std::string(what)),
                   {{"field", std::string(field)}});
}

}  // namespace

void Engine::Core::StartCall(CallId id, GenerateRequest request, std::shared_ptr<GenerateSink> sink,
                             absl::Time arrived) {
  auto owned = std::make_unique<Call>();
  Call& call = *owned;
  call.id = id;
  call.request = std::move(request);
  call.sink = std::move(sink);
  call.arrived = arrived;
  const absl::Status status = CheckRequest(call.request);
  if (!status.ok()) {
    call.sink->OnError(status);
    return;
  }
  calls_[id] = std::move(owned);
  if (call.request.session_id.empty()) {
    Open(call, nullptr);
    return;
  }
  call.request.session_id = SessionKey(call.request.tenant, call.request.session_id);
  sessions_.Own(call.request.session_id, [this, id](const absl::StatusOr<Session*>& found) {
    const auto it = calls_.find(id);
    if (it != calls_.end()) Open(*it->second, found);  // else cancelled meanwhile
  });
}

void Engine::Core::Open(Call& call, const absl::StatusOr<Session*>& found) {
  const absl::Status status = OpenSession(call, found);
  if (status.ok()) {
    call.opened = absl::Now();
    sessions_.Hold(*call.session);
    Begin(call);
    return;
  }
  call.sink->OnError(InIdsOf(call.request.tenant, status));
  calls_.erase(call.id);
}

absl::Status Engine::Core::CheckRequest(const GenerateRequest& request) const {
  if (stopping_) return MakeError(Reason::kDraining, "the engine is stopping: no new calls");
  if (!request.session_id.empty()) {
    const absl::Status id = CheckSessionId("session_id", request.session_id);
    if (!id.ok()) return id;
  }
  for (const auto& [field, ids] : {std::pair{"input_ids", &request.input_ids},
                                   std::pair{"stop_token_ids", &request.stop_token_ids}}) {
    const absl::Status status = CheckIds(field, *ids);
    if (!status.ok()) return status;
  }
  const absl::Status sampling = ValidateSampling(request.sampling, model_->config.vocab);
  if (!sampling.ok()) return sampling;
  if (request.top_logprobs.value_or(0) > kMaxTopLogprobs) {
    return Invalid("top_logprobs",
                   absl::StrCat(*request.top_logprobs, " is over ", kMaxTopLogprobs));
  }
  if (request.request_id.size() > kMaxRequestId) {
    return Invalid("request_id",
                   absl::StrCat(request.request_id.size(), " bytes are over ", kMaxRequestId));
  }
  if (scheduler_.queue_full()) {
    return MakeError(Reason::kQueueFull,
                     absl::StrCat("the queue is full: ", limits_.max_queue, " calls wait"),
                     {{"max_queue", absl::StrCat(limits_.max_queue)}}, absl::Seconds(1));
  }
  return absl::OkStatus();
}

// Takes or makes the call's session and checks the call against it. On success the call holds the
// session, its input appended behind the committed tokens.
absl::Status Engine::Core::OpenSession(Call& call, const absl::StatusOr<Session*>& found) {
  GenerateRequest& request = call.request;
  std::unique_ptr<Session> fresh;
  const bool missing = DetailOf(found.status()).reason == NameOf(Reason::kSessionNotFound);
  if (!found.ok() && !(missing && request.create_if_missing)) return found.status();
  Session* session = found.ok() ? *found : nullptr;
  if (session == nullptr) {
    fresh = std::make_unique<Session>();
    session = fresh.get();
    session->id = request.session_id;
    session->tenant = request.tenant;
    session->create_time = session->last_use_time = call.arrived;
    session->sampling.seed = request.sampling.seed.value_or(DrawSeed());
    session->ttl = session_ttl_;
  }
  const bool being_created = fresh != nullptr && sessions_.IsBeingCreated(session->id);
  if (session->busy || being_created) return SessionBusy(*session);
  // Anything behind it may be new.
  session->computed = std::min(session->computed, session->committed);
  if (request.expected_length && *request.expected_length != session->committed) {
    return LengthMismatch(*request.expected_length, *session);
  }
  call.session = session;
  call.base_length = session->committed;
  absl::Status fits = CheckFits(call);
  if (fits.ok() && !request.session_id.empty()) {
    const int64_t tokens =
        static_cast<int64_t>(request.input_ids.size()) + request.max_new_tokens.value_or(1);
    fits = sessions_.usage().Check(request.tenant, fresh != nullptr ? 1 : 0, tokens);
  }
  if (!fits.ok()) return fits;

  session->busy = true;
  if (sessions_.has_store() && durability_ != Durability::kNone && !session->id.empty()) {
    session->shown = std::make_unique<Session::Shown>(Session::Shown{*session, session->committed});
  }
  if (fresh != nullptr && session->id.empty()) {
    call.one_shot = std::move(fresh);
  } else if (fresh != nullptr) {
    call.created_session = true;
    table_.Insert(std::move(fresh));
  }
  session->tokens.insert(session->tokens.end(), request.input_ids.begin(), request.input_ids.end());
  return absl::OkStatus();
}

absl::Status Engine::Core::CheckFits(const Call& call) const {
  const GenerateRequest& request = call.request;
  const size_t end = call.input_end();
  if (end == 0) {
    return Invalid("input_ids", "empty, and so is the session: nothing to continue from");
  }
  const size_t max_positions = static_cast<size_t>(model_->config.max_positions);
  if (end > max_positions) {
    return MakeError(
        Reason::kContextExceeded,
        absl::StrCat("input_ids: session length ", call.base_length, " plus ",
                     request.input_ids.size(), " new tokens exceed the context of ", max_positions),
        {{"session_length", absl::StrCat(call.base_length)},
         {"max_context", absl::StrCat(max_positions)}});
  }
  // The last token that is asked for needs no K and V.
  const size_t asked = std::min<size_t>(request.max_new_tokens.value_or(1), max_positions - end);
  const size_t stored = end + (asked > 0 ? asked - 1 : 0);
  const size_t most = KvTokensOfTenant();
  if (stored > most) {
    const std::string limit =
        limits_.max_tenant_blocks > 0
            ? absl::StrCat("a tenant may have ", most, " of the pool's (--max-kv-share)")
            : absl::StrCat("the pool holds ", most, " (--kv-memory)");
    return MakeError(
        Reason::kKvTooSmall,
        absl::StrCat("session length ", call.base_length, ", ", request.input_ids.size(),
                     " input_ids and max_new_tokens need ", stored, " tokens of KV cache; ", limit),
        {{"kv_tokens", absl::StrCat(most)}});
  }
  return absl::OkStatus();
}

size_t Engine::Core::KvTokensOfTenant() const {
  if (limits_.max_tenant_blocks == 0) return model_->info.kv_tokens;
  return size_t(limits_.max_tenant_blocks) * kBlockTokens;
}

void Engine::Core::Begin(Call& call) {
  Session& session = *call.session;
  SamplingOverrides sampling =
      Merge(call.request.sampling, Merge(session.sampling, model_->generation.sampling));
  call.params = Resolve(sampling);
  // A session can grow to the end of the context, or of what its tenant may have of the pool where
  // that is smaller: one token more than this stores.
  const size_t context = std::min<size_t>(model_->config.max_positions, KvTokensOfTenant() + 1);
  const size_t room = context - std::min(context, call.input_end());
  const uint32_t asked = call.request.max_new_tokens.value_or(std::numeric_limits<uint32_t>::max());
  call.max_new_tokens = static_cast<uint32_t>(std::min<size_t>(asked, room));
  call.finish_at_max = asked <= room ? FinishReason::kMaxNewTokens : FinishReason::kMaxContext;
  if (!call.request.max_new_tokens && call.one_shot == nullptr) LimitByQuota(call);

  // Steps ask the heap for nothing.
  const size_t length = call.input_end() + std::min<size_t>(call.max_new_tokens, kReservedTokens);
  session.tokens.reserve(length);
  session.blocks.reserve(KvCache::BlocksFor(length));

  // The logits that predict the first wanted token must be computed: keep the cache from covering
  // the token before it.
  size_t keep = session.tokens.size();
  if (call.max_new_tokens > 0) keep = session.tokens.size() - 1;
  call.next_prompt_logprob = call.input_end();
  if (call.request.prompt_logprobs) {
    call.next_prompt_logprob = call.base_length;
    keep = std::min(keep, std::max<size_t>(call.base_length, 1) - 1);
  }
  if (session.cached > keep) cache_.Truncate(session, keep);

  if (call.pending() > 0) {
    scheduler_.Add(call);
    return;
  }
  call.admitted = absl::Now();
  call.cached_tokens = static_cast<uint32_t>(session.cached);
  call.started = true;
  call.sink->OnStarted(StartedOf(call));
  EndAtMax(call);
}

void Engine::Core::LimitByQuota(Call& call) {
  const TenantUsage& usage = sessions_.usage();
  const std::string& tenant = call.session->tenant;
  const auto input = static_cast<int64_t>(call.request.input_ids.size());
  const int64_t left = std::max<int64_t>(usage.Room(tenant) - input, 0);
  if (left >= int64_t{call.max_new_tokens}) return;
  call.max_new_tokens = static_cast<uint32_t>(left);
  call.quota_at_max = usage.Check(tenant, 0, input + left + 1);
}

GenerateStarted Engine::Core::StartedOf(const Call& call) const {
  const Session& session = *call.session;
  GenerateStarted started = {std::string(IdOfKey(session.id)), call.base_length, call.cached_tokens,
                             call.params.seed};
  if (call.one_shot == nullptr && !call.created_session) {
    started.session_age = call.arrived - session.create_time;
    started.session_idle = call.arrived - session.last_use_time;
  }
  return started;
}

void Engine::Core::CancelCall(CallId id, const absl::Status& why) {
  const auto it = calls_.find(id);
  if (it != calls_.end()) Fail(*it->second, why);
}

void Engine::Core::EndAtMax(Call& call) {
  if (call.quota_at_max.ok()) {
    Complete(call, call.finish_at_max);
  } else {
    Fail(call, call.quota_at_max);
  }
}

void Engine::Core::Complete(Call& call, FinishReason reason) {
  call.session->committed = call.session->tokens.size();
  const absl::Time now = absl::Now();
  const absl::Time first = call.generated > 0 ? call.first_token : now;
  call.complete = {.finish_reason = reason,
                   .session_length = call.session->committed,
                   .input_tokens = static_cast<uint32_t>(call.request.input_ids.size()),
                   .cached_tokens = call.cached_tokens,
                   .computed_tokens = call.computed_tokens,
                   .generated_tokens = call.generated,
                   .queued = call.admitted - call.arrived,
                   .prefill = first - call.admitted,
                   .decode = now - first};
  Leave(call);
  Settle(call, reason);
}

void Engine::Core::Fail(Call& call, const absl::Status& status) {
  if (call.settling) return;
  call.error = status;
  if (call.session == nullptr) {  // the store is being asked for it
    call.sink->OnError(InIdsOf(call.request.tenant, status));
    calls_.erase(call.id);
    return;
  }
  Session& session = *call.session;
  session.tokens.resize(session.committed);
  cache_.Truncate(session, session.committed);
  Leave(call);
  Settle(call, FinishReason::kInterrupted);
}

void Engine::Core::Leave(Call& call) {
  scheduler_.Remove(call);
  call.settling = true;
  call.ended = absl::Now();
  for (Step& step : steps_) {
    for (StepEntry& entry : step.plan.entries) {
      if (entry.call == &call) entry.call = nullptr;
    }
    for (LogitUse& use : step.uses) {
      if (use.call == &call) use.call = nullptr;
    }
  }
}

absl::Time Engine::Core::CutStalled(absl::Time now) {
  absl::Time next = absl::InfiniteFuture();
  stalled_.clear();
  counters_.paused = counters_.stalled = 0;
  for (const auto& [id, owned] : calls_) {
    Call* call = owned.get();
    if (call->settling) continue;
    counters_.paused += call->started && !call->running ? 1 : 0;
    if (!call->stalled()) {
      call->stalled_since = absl::InfiniteFuture();
      continue;
    }
    ++counters_.stalled;
    call->stalled_since = std::min(call->stalled_since, now);
    const absl::Time cut = call->stalled_since + stall_timeout_;
    if (cut <= now) {
      stalled_.push_back(call);
    } else {
      next = std::min(next, cut);
    }
  }
  for (Call* call : stalled_) {
    Fail(*call, absl::DeadlineExceededError(absl::StrCat("the reader has taken nothing for ",
                                                         absl::FormatDuration(stall_timeout_),
                                                         " (--stall-timeout)")));
  }
  return next;
}

void Engine::Core::Forget(Call& call) {
  if (call.one_shot) cache_.Truncate(*call.one_shot, 0);
  calls_.erase(call.id);
}

}  // namespace kvasir
