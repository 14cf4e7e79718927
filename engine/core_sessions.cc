// Sessions as a resource: created, listed, forked, cut, deleted.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/core.h"
#include "engine/error.h"

namespace kvasir {
namespace {

constexpr size_t kMaxSessionId = 128;
constexpr uint32_t kDefaultPage = 100;
constexpr uint32_t kMaxPage = 1000;

bool IsIdCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

absl::Status PastTheEnd(std::string_view field, uint64_t value, const Session& session) {
  return MakeError(Reason::kContextExceeded,
                   absl::StrCat(std::string(field), ": ", value, " is past the session's length ",
                                session.committed),
                   {{"session_length", absl::StrCat(session.committed)}});
}

absl::Status Exists(const std::string& id) {
  return MakeError(Reason::kSessionExists, absl::StrCat("session '", id, "' exists already"),
                   {{"session_id", id}});
}

}  // namespace

absl::Status CheckSessionId(std::string_view field, std::string_view id) {
  if (!id.empty() && id.size() <= kMaxSessionId &&
      std::all_of(id.begin(), id.end(), IsIdCharacter)) {
    return absl::OkStatus();
  }
  // An overlong or binary id is not worth repeating whole.
  std::string shown;
  for (char c : id.substr(0, 32)) shown += c >= ' ' && c <= '~' ? c : '?';
  if (id.size() > 32) shown += "...";
  return MakeError(Reason::kInvalidField,
                   absl::StrCat(std::string(field), ": '", shown, "' (", id.size(),
                                " bytes) is not of the form [A-Za-z0-9._-]{1,128}"),
                   {{"field", std::string(field)}});
}

absl::Status SessionNotFound(const std::string& id) {
  return MakeError(Reason::kSessionNotFound, absl::StrCat("session_id: no session '", id, "'"),
                   {{"session_id", id}});
}

absl::Status SessionBusy(const Session& session) {
  return MakeError(Reason::kSessionBusy,
                   absl::StrCat("session '", session.id, "': another call is running on it"),
                   {{"session_id", session.id}});
}

absl::Status LengthMismatch(uint64_t expected, const Session& session) {
  return MakeError(Reason::kLengthMismatch,
                   absl::StrCat("expected_length: ", expected, " is not the session's length ",
                                session.committed),
                   {{"session_length", absl::StrCat(session.committed)}});
}

absl::Status Engine::Core::CheckIds(std::string_view field, const std::vector<int>& ids) const {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < model_->config.vocab) continue;
    return MakeError(Reason::kInvalidField,
                     absl::StrCat(std::string(field), "[", i, "]: ", static_cast<uint32_t>(ids[i]),
                                  " is not below vocab_size ", model_->config.vocab),
                     {{"field", std::string(field)}});
  }
  return absl::OkStatus();
}

absl::StatusOr<Session*> Engine::Core::FindSession(const std::string& id) {
  const absl::Status form = CheckSessionId("session_id", id);
  if (!form.ok()) return form;
  if (Session* session = table_.Find(id)) return session;
  return SessionNotFound(id);
}

std::string Engine::Core::NewSessionId(std::string wanted) {
  if (wanted.empty()) {
    return absl::StrFormat("%08x%08x%08x%08x", random_(), random_(), random_(), random_());
  }
  return wanted;
}

SessionInfo Engine::Core::InfoOf(const Session& session) const {
  return {.session_id = session.id,
          .length = session.committed,
          .cached_tokens = std::min(session.cached, session.committed),
          .busy = session.busy,
          .create_time = session.create_time,
          .last_use_time = session.last_use_time,
          .expire_time = ExpireTime(session),
          .parent_session_id = session.parent_id,
          .labels = session.labels,
          .sampling = session.sampling,
          .last_request_id = session.last_request_id,
          .last_base_length = session.last_base_length,
          .last_finish_reason = session.last_finish_reason};
}

absl::StatusOr<SessionInfo> Engine::Core::CreateSession(CreateSessionRequest request) {
  if (!request.session_id.empty()) {
    const absl::Status form = CheckSessionId("session_id", request.session_id);
    if (!form.ok()) return form;
  }
  const absl::Status ids = CheckIds("initial_ids", request.initial_ids);
  if (!ids.ok()) return ids;
  if (request.initial_ids.size() > static_cast<size_t>(model_->config.max_positions)) {
    return MakeError(Reason::kContextExceeded,
                     absl::StrCat("initial_ids: ", request.initial_ids.size(),
                                  " tokens exceed the context of ", model_->config.max_positions));
  }
  const absl::Status sampling = ValidateSampling(request.sampling, model_->config.vocab);
  if (!sampling.ok()) return sampling;
  if (request.ttl && *request.ttl <= absl::ZeroDuration()) {
    return MakeError(Reason::kInvalidField,
                     absl::StrCat("ttl: ", absl::FormatDuration(*request.ttl), " is not over 0"),
                     {{"field", "ttl"}});
  }
  const std::string id = NewSessionId(std::move(request.session_id));
  if (table_.Find(id) != nullptr) return Exists(id);

  auto session = std::make_unique<Session>();
  session->id = id;
  session->tenant = std::move(request.tenant);
  session->tokens = std::move(request.initial_ids);
  session->committed = session->tokens.size();
  session->create_time = session->last_use_time = absl::Now();
  session->ttl = request.ttl;
  session->labels = std::move(request.labels);
  session->sampling = std::move(request.sampling);
  if (!session->sampling.seed) session->sampling.seed = DrawSeed();
  if (session->ttl) next_expiry_ = absl::InfinitePast();
  return InfoOf(table_.Insert(std::move(session)));
}

absl::StatusOr<SessionInfo> Engine::Core::GetSession(const std::string& id) {
  const absl::StatusOr<Session*> session = FindSession(id);
  if (!session.ok()) return session.status();
  return InfoOf(**session);
}

absl::StatusOr<SessionPage> Engine::Core::ListSessions(const ListSessionsRequest& request) {
  if (request.page_size > kMaxPage) {
    return MakeError(Reason::kInvalidField,
                     absl::StrCat("page_size: ", request.page_size, " is over ", kMaxPage),
                     {{"field", "page_size"}});
  }
  if (!request.page_token.empty()) {
    const absl::Status form = CheckSessionId("page_token", request.page_token);
    if (!form.ok()) return form;
  }
  const size_t count = request.page_size == 0 ? kDefaultPage : request.page_size;
  SessionPage page;
  for (Session* session : table_.List(request.page_token, count + 1, request.labels)) {
    if (page.sessions.size() == count) {
      page.next_page_token = page.sessions.back().session_id;
      break;
    }
    page.sessions.push_back(InfoOf(*session));
  }
  return page;
}

absl::StatusOr<SessionInfo> Engine::Core::ForkSession(const std::string& id, std::string new_id,
                                                      std::optional<uint64_t> length) {
  const absl::StatusOr<Session*> found = FindSession(id);
  if (!found.ok()) return found.status();
  const Session& source = **found;
  if (!new_id.empty()) {
    const absl::Status form = CheckSessionId("new_session_id", new_id);
    if (!form.ok()) return form;
  }
  const uint64_t kept = length.value_or(source.committed);
  if (kept > source.committed) return PastTheEnd("length", kept, source);
  new_id = NewSessionId(std::move(new_id));
  if (table_.Find(new_id) != nullptr) return Exists(new_id);

  auto fork = std::make_unique<Session>();
  fork->id = std::move(new_id);
  fork->tokens.assign(source.tokens.begin(), source.tokens.begin() + static_cast<ptrdiff_t>(kept));
  fork->committed = kept;
  fork->create_time = fork->last_use_time = absl::Now();
  fork->ttl = source.ttl;
  fork->tenant = source.tenant;
  fork->parent_id = source.id;
  fork->labels = source.labels;
  fork->sampling = source.sampling;
  cache_.Share(source, kept, *fork);
  if (fork->ttl) next_expiry_ = absl::InfinitePast();
  return InfoOf(table_.Insert(std::move(fork)));
}

absl::StatusOr<SessionInfo> Engine::Core::TruncateSession(const std::string& id, uint64_t length,
                                                          std::optional<uint64_t> expected_length) {
  const absl::StatusOr<Session*> found = FindSession(id);
  if (!found.ok()) return found.status();
  Session& session = **found;
  if (session.busy) return SessionBusy(session);
  if (expected_length && *expected_length != session.committed) {
    return LengthMismatch(*expected_length, session);
  }
  if (length > session.committed) return PastTheEnd("length", length, session);
  session.tokens.resize(length);
  session.committed = length;
  cache_.Truncate(session, length);
  session.last_use_time = absl::Now();
  table_.Unpin(session);
  return InfoOf(session);
}

absl::Status Engine::Core::DeleteSession(const std::string& id) {
  const absl::StatusOr<Session*> found = FindSession(id);
  if (!found.ok()) return found.status();
  for (const auto& [call_id, call] : calls_) {
    if (call->session != *found) continue;
    Fail(*call, absl::CancelledError(absl::StrCat("session '", id, "' was deleted")));
    break;
  }
  // A session that its cancelled call had created is gone by now.
  if (Session* session = table_.Find(id)) table_.Erase(*session);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int>> Engine::Core::ReadSession(const std::string& id, uint64_t offset) {
  const absl::StatusOr<Session*> found = FindSession(id);
  if (!found.ok()) return found.status();
  const Session& session = **found;
  if (offset > session.committed) return PastTheEnd("offset", offset, session);
  return std::vector<int>(session.tokens.begin() + static_cast<ptrdiff_t>(offset),
                          session.tokens.begin() + static_cast<ptrdiff_t>(session.committed));
}

void Engine::Core::DropIdleBlocks() {
  table_.Evict(cache_.allocator().total());
  cache_.ForgetPublished();
}

}  // namespace kvasir
