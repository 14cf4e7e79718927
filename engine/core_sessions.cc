// Sessions as a resource: created, listed, forked, cut, deleted.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/cache/session_key.h"
#include "engine/core.h"
#include "engine/error.h"

namespace kvasir {
namespace {

constexpr size_t kMaxSessionId = 128;
constexpr uint32_t kDefaultPage = 100;
constexpr uint32_t kMaxPage = 1000;
// What a session carries besides its tokens is written with every turn, and a page of lists holds
// it a thousand times within a message's 16 MiB.
constexpr size_t kMaxLabels = 64;
constexpr size_t kMaxLabelBytes = 4096;  // of all keys and values
constexpr size_t kMaxSessionBiases = 1000;

bool IsIdCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

absl::Status TooMany(const char* field, size_t value, const char* unit, size_t limit) {
  return MakeError(Reason::kInvalidField,
                   absl::StrCat(field, ": ", value, " ", unit, " are over ", limit),
                   {{"field", field}});
}

absl::Status CheckLabels(const std::map<std::string, std::string>& labels) {
  if (labels.size() > kMaxLabels) return TooMany("labels", labels.size(), "entries", kMaxLabels);
  size_t bytes = 0;
  for (const auto& [key, value] : labels) bytes += key.size() + value.size();
  if (bytes > kMaxLabelBytes) return TooMany("labels", bytes, "bytes", kMaxLabelBytes);
  return absl::OkStatus();
}

absl::Status PastTheEnd(std::string_view field, uint64_t value, size_t length) {
  return MakeError(
      Reason::kContextExceeded,
      absl::StrCat(std::string(field), ": ", value, " is past the session's length ", length),
      {{"session_length", absl::StrCat(length)}});
}

SessionInfo InfoOf(const SessionView& view) {
  const SessionMetadata& session = *view.metadata;
  return {.session_id = std::string(IdOfKey(session.id)),
          .length = view.length,
          .cached_tokens = view.cached,
          .busy = view.busy,
          .create_time = session.create_time,
          .last_use_time = session.last_use_time,
          .expire_time = ExpireTime(session),
          .parent_session_id = std::string(IdOfKey(session.parent_id)),
          .labels = session.labels,
          .sampling = session.sampling,
          .last_request_id = session.last_request_id,
          .last_base_length = session.last_base_length,
          .last_finish_reason = session.last_finish_reason};
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

absl::StatusOr<std::string> KeyOf(const std::string& tenant, std::string_view field,
                                  const std::string& id) {
  if (absl::Status form = CheckSessionId(field, id); !form.ok()) return form;
  return SessionKey(tenant, id);
}

absl::Status InIdsOf(const std::string& tenant, const absl::Status& error) {
  if (error.ok() || tenant.empty()) return error;
  return Reworded(error, SessionKey(tenant, ""), "");
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

std::string Engine::Core::NewKey(const std::string& tenant, const std::string& wanted) {
  if (!wanted.empty()) return SessionKey(tenant, wanted);
  return SessionKey(
      tenant, absl::StrFormat("%08x%08x%08x%08x", random_(), random_(), random_(), random_()));
}

absl::Status Engine::Core::CheckCreate(const CreateSessionRequest& request) const {
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
  if (request.sampling.logit_bias.size() > kMaxSessionBiases) {
    return TooMany("sampling.logit_bias", request.sampling.logit_bias.size(), "entries",
                   kMaxSessionBiases);
  }
  const absl::Status labels = CheckLabels(request.labels);
  if (!labels.ok()) return labels;
  if (request.ttl && *request.ttl <= absl::ZeroDuration()) {
    return MakeError(Reason::kInvalidField,
                     absl::StrCat("ttl: ", absl::FormatDuration(*request.ttl), " is not over 0"),
                     {{"field", "ttl"}});
  }
  return absl::OkStatus();
}

void Engine::Core::CreateSession(CreateSessionRequest request, Callback<SessionInfo> done) {
  if (const absl::Status status = CheckCreate(request); !status.ok()) {
    done(status);
    return;
  }
  auto session = std::make_unique<Session>();
  session->id = NewKey(request.tenant, request.session_id);
  session->tenant = std::move(request.tenant);
  session->tokens = std::move(request.initial_ids);
  session->committed = session->tokens.size();
  session->create_time = session->last_use_time = absl::Now();
  session->ttl = request.ttl ? request.ttl : session_ttl_;
  session->labels = std::move(request.labels);
  session->sampling = std::move(request.sampling);
  if (!session->sampling.seed) session->sampling.seed = DrawSeed();
  AddSession(std::move(session), std::move(done));
}

void Engine::Core::AddSession(std::unique_ptr<Session> session, Callback<SessionInfo> done) {
  if (session->ttl) sessions_.ExpectExpiry();
  sessions_.Create(std::move(session),
                   [done = std::move(done)](const absl::StatusOr<Session*>& created) mutable {
                     if (created.ok()) {
                       done(InfoOf(ViewOf(**created)));
                     } else {
                       done(created.status());
                     }
                   });
}

void Engine::Core::GetSession(const std::string& tenant, const std::string& id,
                              Callback<SessionInfo> done) {
  const absl::StatusOr<std::string> key = KeyOf(tenant, "session_id", id);
  if (!key.ok()) {
    done(key.status());
    return;
  }
  sessions_.Describe(*key,
                     [done = std::move(done)](const absl::StatusOr<SessionView>& seen) mutable {
                       if (seen.ok()) {
                         done(InfoOf(*seen));
                       } else {
                         done(seen.status());
                       }
                     });
}

void Engine::Core::ListSessions(const ListSessionsRequest& request, Callback<SessionPage> done) {
  if (request.page_size > kMaxPage) {
    done(MakeError(Reason::kInvalidField,
                   absl::StrCat("page_size: ", request.page_size, " is over ", kMaxPage),
                   {{"field", "page_size"}}));
    return;
  }
  if (!request.page_token.empty()) {
    const absl::Status form = CheckSessionId("page_token", request.page_token);
    if (!form.ok()) {
      done(form);
      return;
    }
  }
  const size_t count = request.page_size == 0 ? kDefaultPage : request.page_size;
  sessions_.List(
      SessionKey(request.tenant, request.page_token), EndOfKeys(request.tenant), count,
      request.labels,
      [done = std::move(done)](const absl::StatusOr<StoredSessions::Page>& listed) mutable {
        if (!listed.ok()) {
          done(listed.status());
          return;
        }
        SessionPage page = {.next_page_token = std::string(IdOfKey(listed->next))};
        for (const SessionView& session : listed->sessions) {
          page.sessions.push_back(InfoOf(session));
        }
        done(std::move(page));
      });
}

void Engine::Core::ForkSession(const std::string& tenant, const std::string& id,
                               const std::string& new_id, std::optional<uint64_t> length,
                               Callback<SessionInfo> done) {
  absl::StatusOr<std::string> key = KeyOf(tenant, "session_id", id);
  if (key.ok() && !new_id.empty()) {
    const absl::Status form = CheckSessionId("new_session_id", new_id);
    if (!form.ok()) key = form;
  }
  if (!key.ok()) {
    done(key.status());
    return;
  }
  sessions_.Read(*key, [this, new_key = NewKey(tenant, new_id), length,
                        done = std::move(done)](const absl::StatusOr<SessionView>& source) mutable {
    if (!source.ok()) {
      done(source.status());
      return;
    }
    const uint64_t kept = length.value_or(source->length);
    if (kept > source->length) {
      done(PastTheEnd("length", kept, source->length));
      return;
    }
    AddSession(MakeFork(*source, std::move(new_key), kept), std::move(done));
  });
}

std::unique_ptr<Session> Engine::Core::MakeFork(const SessionView& source, std::string key,
                                                size_t length) {
  const SessionMetadata& origin = *source.metadata;
  auto fork = std::make_unique<Session>();
  fork->id = std::move(key);
  fork->tokens.assign(source.tokens.begin(),
                      source.tokens.begin() + static_cast<ptrdiff_t>(length));
  fork->committed = length;
  fork->create_time = fork->last_use_time = absl::Now();
  fork->ttl = origin.ttl;
  fork->tenant = origin.tenant;
  fork->parent_id = origin.id;
  fork->labels = origin.labels;
  fork->sampling = origin.sampling;
  // Blocks are the table's. What it has under this id need not be what was read from the store: if
  // another replica has deleted that and made one anew, not even equal versions say so.
  const Session* here = table_.Find(origin.id);
  if (here != nullptr && here->tenant == origin.tenant) {
    cache_.Share(*here, CommonPrefix(here->tokens, fork->tokens), *fork);
  }
  return fork;
}

void Engine::Core::TruncateSession(const std::string& tenant, const std::string& id,
                                   uint64_t length, std::optional<uint64_t> expected_length,
                                   Callback<SessionInfo> done) {
  const absl::StatusOr<std::string> key = KeyOf(tenant, "session_id", id);
  if (!key.ok()) {
    done(key.status());
    return;
  }
  sessions_.Own(*key, [this, length, expected_length,
                       done = std::move(done)](const absl::StatusOr<Session*>& found) mutable {
    if (!found.ok()) {
      done(found.status());
      return;
    }
    Session& session = **found;
    if (session.busy) {
      done(SessionBusy(session));
    } else if (expected_length && *expected_length != session.committed) {
      done(LengthMismatch(*expected_length, session));
    } else if (length > session.committed) {
      done(PastTheEnd("length", length, session.committed));
    } else {
      Truncate(session, length, std::move(done));
    }
  });
}

void Engine::Core::Truncate(Session& session, size_t length, Callback<SessionInfo> done) {
  const auto cut = [this, &session, length](absl::Time now) {
    session.tokens.resize(length);
    session.committed = length;
    cache_.Truncate(session, length);
    session.last_use_time = now;
    table_.Unpin(session);
    sessions_.Settled(session);
  };
  const absl::Time now = absl::Now();
  if (!sessions_.has_store()) {
    cut(now);
    done(InfoOf(ViewOf(session)));
    return;
  }
  session.busy = true;  // it is what it was, and nobody's else, until this is durable
  sessions_.Hold(session);
  SessionMetadata metadata = session;
  metadata.last_use_time = now;
  sessions_.Save(
      session, length, metadata,
      [this, &session, now, cut, done = std::move(done)](const absl::Status& saved) mutable {
        const std::string id = session.id;
        session.busy = false;
        sessions_.LetGo(session);
        if (saved.ok()) {
          cut(now);
          done(InfoOf(ViewOf(session)));
        } else {
          sessions_.Drop(session);  // what the store has is not known
          done(saved);
        }
        WakeWaiting(id);
      });
}

void Engine::Core::DeleteSession(const std::string& tenant, const std::string& id,
                                 absl::AnyInvocable<void(absl::Status)> done) {
  const absl::StatusOr<std::string> key = KeyOf(tenant, "session_id", id);
  if (key.ok()) {
    Delete(*key, std::move(done));
  } else {
    done(key.status());
  }
}

void Engine::Core::Delete(const std::string& key, absl::AnyInvocable<void(absl::Status)> done) {
  Session* session = table_.Find(key);
  if (session != nullptr && session->busy) {
    if (Call* call = CallOn(*session)) {
      Fail(*call, absl::CancelledError(absl::StrCat("session '", key, "' was deleted")));
    }
    session = table_.Find(key);
    if (session == nullptr) {  // its cancelled call had created it
      done(absl::OkStatus());
      return;
    }
    if (session->busy) {  // something is on its way to the store
      waiting_[key].push_back(
          [this, key, done = std::move(done)]() mutable { Delete(key, std::move(done)); });
      return;
    }
  }
  sessions_.Delete(
      key, [done = std::move(done)](const absl::Status& deleted) mutable { done(deleted); });
}

void Engine::Core::ReadSession(const std::string& tenant, const std::string& id, uint64_t offset,
                               Callback<std::vector<int>> done) {
  const absl::StatusOr<std::string> key = KeyOf(tenant, "session_id", id);
  if (!key.ok()) {
    done(key.status());
    return;
  }
  sessions_.Read(*key,
                 [offset, done = std::move(done)](const absl::StatusOr<SessionView>& seen) mutable {
                   if (!seen.ok()) {
                     done(seen.status());
                   } else if (offset > seen->length) {
                     done(PastTheEnd("offset", offset, seen->length));
                   } else {
                     done(std::vector<int>(seen->tokens.begin() + static_cast<ptrdiff_t>(offset),
                                           seen->tokens.end()));
                   }
                 });
}

void Engine::Core::DropIdleBlocks() {
  table_.Evict(cache_.allocator().total());
  cache_.ForgetPublished();
}

}  // namespace kvasir
