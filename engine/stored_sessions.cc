#include "engine/stored_sessions.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/check.h"
#include "engine/error.h"

namespace kvasir {
namespace {

// A lease is trusted for so long after it was asked for: less than the store grants.
constexpr std::chrono::seconds kTrusted(4);

bool HasExpired(const SessionMetadata& session, absl::Time now) {
  const std::optional<absl::Time> end = ExpireTime(session);
  return end && *end <= now;
}

absl::Status LeaseLost(const std::string& id) {
  return MakeError(Reason::kLeaseLost,
                   absl::StrCat("session '", id,
                                "': another replica has taken it over; nothing was appended here"),
                   {{"session_id", id}});
}

}  // namespace

absl::Status SessionNotFound(const std::string& id) {
  return MakeError(Reason::kSessionNotFound, absl::StrCat("session_id: no session '", id, "'"),
                   {{"session_id", id}});
}

absl::Status SessionExists(const std::string& id) {
  return MakeError(Reason::kSessionExists, absl::StrCat("session '", id, "' exists already"),
                   {{"session_id", id}});
}

StoredSessions::StoredSessions(SessionTable& table, KvCache& cache, Options options)
    : table_(table),
      cache_(cache),
      fingerprint_(std::move(options.fingerprint)),
      numerics_(std::move(options.numerics)),
      lost_(std::move(options.lost)),
      warn_(std::move(options.warn)),
      usage_(options.limits),
      has_store_(options.store != nullptr),
      is_shared_(has_store_ && options.store->shared()) {
  if (options.store == nullptr) return;
  const auto renewed = [this](LeaseClock::time_point asked, const std::vector<std::string>& kept,
                              const std::vector<std::string>& lost) {
    for (const std::string& id : kept) {
      Session* session = table_.Find(id);
      if (session == nullptr) continue;
      session->stored.lease_end = std::max(session->stored.lease_end, asked + kTrusted);
    }
    for (const std::string& id : lost) {
      Session* session = table_.Find(id);
      if (session != nullptr) lost_(*session, LeaseLost(id));
    }
  };
  journal_ = std::make_unique<Journal>(std::move(options.store), std::move(options.post), renewed);
}

absl::Status StoredSessions::CheckOpen() const {
  if (!has_store_ || journal_ != nullptr) return absl::OkStatus();
  return MakeError(Reason::kDraining, "the session store is closed: the server is stopping");
}

LeaseClock::time_point StoredSessions::TrustedEnd() const {
  return is_shared_ ? LeaseClock::now() + kTrusted : LeaseClock::time_point::max();
}

Session* StoredSessions::Current(const std::string& id) {
  Session* session = table_.Find(id);
  if (session == nullptr || session->busy || !has_store_) return session;
  return IsFresh(*session) && !HasExpired(*session, absl::Now()) ? session : nullptr;
}

bool StoredSessions::IsFresh(const Session& session) const {
  return !has_store_ || session.stored.version == 0 || session.stored.lease_end > LeaseClock::now();
}

void StoredSessions::Own(const std::string& id, Found found) {
  if (const absl::Status open = CheckOpen(); !open.ok()) {
    found(open);
    return;
  }
  if (Session* session = Current(id)) {
    found(session);
    return;
  }
  if (!has_store_) {
    found(SessionNotFound(id));
    return;
  }
  const Session* here = table_.Find(id);
  std::optional<uint64_t> known;
  if (here != nullptr) known = here->stored.version;
  journal_->Acquire(id, known,
                    [this, id, known, end = TrustedEnd(),
                     found = std::move(found)](absl::StatusOr<OwnedSession> owned) mutable {
                      if (owned.ok() && owned->taken_over) ++moves_;
                      if (owned.ok() && !owned->tokens && table_.Find(id) == nullptr) {
                        // What was here when the store was asked has left the memory since.
                        Own(id, std::move(found));
                        return;
                      }
                      found(Install(id, known, std::move(owned), end));
                    });
}

absl::StatusOr<Session*> StoredSessions::Install(const std::string& id,
                                                 std::optional<uint64_t> known,
                                                 absl::StatusOr<OwnedSession> owned,
                                                 LeaseClock::time_point lease_end) {
  Session* here = table_.Find(id);
  if (here != nullptr && here->busy) return here;  // who asked first has begun meanwhile
  // Where this replica has written or found it meanwhile, it has what is newer than what was read.
  const bool unchanged = here == nullptr || here->stored.version == known.value_or(0);
  if (!owned.ok()) {
    const bool gone = DetailOf(owned.status()).reason == NameOf(Reason::kSessionNotFound);
    if (gone && !unchanged) return here;
    if (gone && here != nullptr) Drop(*here);
    return owned.status();
  }
  SessionRecord& record = owned->record;
  if (unchanged && record.expired) {
    if (here != nullptr) Drop(*here);
    DeleteStored(record, [](const absl::Status&) {});
    return SessionNotFound(id);
  }
  if (const absl::Status model = CheckModel(record); !model.ok()) {
    if (journal_ != nullptr) journal_->Release(id);
    return model;
  }
  if (here == nullptr) {
    KVASIR_CHECK(owned->tokens.has_value());
    auto fresh = std::make_unique<Session>();
    fresh->id = id;
    here = &table_.Insert(std::move(fresh));
  }
  if (unchanged && owned->tokens) Replace(*here, record, *std::move(owned->tokens));
  here->stored.lease_end = std::max(here->stored.lease_end, lease_end);
  LetGo(*here);  // whoever uses it holds it
  return here;
}

absl::Status StoredSessions::CheckModel(const SessionRecord& record) {
  const std::string& id = record.metadata.id;
  if (record.fingerprint != fingerprint_) {
    return MakeError(Reason::kModelChanged,
                     absl::StrCat("session '", id, "' belongs to model ", record.fingerprint,
                                  ", this server has ", fingerprint_),
                     {{"session_id", id},
                      {"session_fingerprint", record.fingerprint},
                      {"fingerprint", fingerprint_}});
  }
  if (record.numerics != numerics_ && record.numerics != warned_numerics_ && warn_) {
    warned_numerics_ = record.numerics;
    warn_(absl::StrCat("session '", id, "' was made with numerics ", record.numerics,
                       ", this server has ", numerics_,
                       ": it goes on, perhaps with other bits than there"));
  }
  return absl::OkStatus();
}

void StoredSessions::Replace(Session& session, const SessionRecord& record,
                             std::vector<int> tokens) {
  const bool same_tenant = session.tenant == record.metadata.tenant;
  cache_.Truncate(session, same_tenant ? CommonPrefix(tokens, session.tokens) : 0);
  static_cast<SessionMetadata&>(session) = record.metadata;
  session.tokens = std::move(tokens);
  session.committed = session.tokens.size();
  session.stored.version = record.version;
  session.stored.matching = session.committed;
  session.counted = session.committed;
}

void StoredSessions::Create(std::unique_ptr<Session> session, Found created) {
  absl::Status possible = CheckOpen();
  if (possible.ok() && Current(session->id) != nullptr) {
    possible = SessionExists(session->id);
  }
  if (!possible.ok()) {
    NotCreated(*session, possible, created);
    return;
  }
  const auto tokens = static_cast<int64_t>(session->committed);
  if (const absl::Status quota = usage_.Check(session->tenant, 1, tokens); !quota.ok()) {
    NotCreated(*session, quota, created);
  } else if (!has_store_) {
    Session& inserted = table_.Insert(std::move(session));
    Settled(inserted);
    created(&inserted);
  } else {
    const std::string id = session->id;
    creating_.insert(id);
    CreateStored(
        std::move(session),
        [this, id, created = std::move(created)](const absl::StatusOr<Session*>& result) mutable {
          creating_.erase(creating_.find(id));
          created(result);
        },
        /*replaces_expired=*/true);
  }
}

void StoredSessions::CreateStored(std::unique_ptr<Session> session, Found created,
                                  bool replaces_expired) {
  Session& fresh = *session;
  Save(fresh, fresh.committed, fresh,
       [this, session = std::move(session), end = TrustedEnd(), created = std::move(created),
        replaces_expired](const absl::Status& status) mutable {
         const bool taken = DetailOf(status).reason == NameOf(Reason::kLeaseLost);
         if (taken && replaces_expired && journal_ != nullptr) {
           ReplaceExpired(std::move(session), std::move(created));
           return;
         }
         if (!status.ok()) {
           NotCreated(*session, taken ? SessionExists(session->id) : status, created);
           return;
         }
         Enter(std::move(session), end, std::move(created));
       });
}

void StoredSessions::Enter(std::unique_ptr<Session> session, LeaseClock::time_point lease_end,
                           Found created) {
  const std::string id = session->id;
  // What was here under this id had expired, or another replica has deleted it.
  if (Session* old = table_.Find(id)) lost_(*old, LeaseLost(id));
  if (table_.Find(id) != nullptr) {  // its call's end is on its way to the store, and fails there
    NotCreated(*session,
               MakeError(Reason::kStore,
                         absl::StrCat("session '", id, "' was created, and cannot be used until a ",
                                      "call on the one before it has ended")),
               created);
    return;
  }
  Session& inserted = table_.Insert(std::move(session));
  inserted.stored.lease_end = lease_end;
  LetGo(inserted);
  created(&inserted);
}

void StoredSessions::ReplaceExpired(std::unique_ptr<Session> session, Found created) {
  const std::string id = session->id;
  auto loaded = [this, session = std::move(session), created = std::move(created)](
                    const absl::StatusOr<SessionRecord>& record) mutable {
    session->stored = {};
    session->counted.reset();
    if (absl::IsNotFound(record.status())) {  // somebody else has deleted it
      CreateStored(std::move(session), std::move(created), /*replaces_expired=*/false);
      return;
    }
    if (!record.ok() || !record->expired) {
      NotCreated(*session, SessionExists(session->id), created);
      return;
    }
    const std::string id = session->id;
    // Who asks for an expired session deletes it.
    Own(id, [this, session = std::move(session),
             created = std::move(created)](const absl::StatusOr<Session*>&) mutable {
      CreateStored(std::move(session), std::move(created), /*replaces_expired=*/false);
    });
  };
  journal_->LoadRecord(id, std::move(loaded));
}

void StoredSessions::NotCreated(Session& session, const absl::Status& why, Found& created) {
  cache_.Truncate(session, 0);  // a fork shares blocks
  created(why);
}

void StoredSessions::Save(Session& session, size_t length, const SessionMetadata& metadata,
                          Saved saved) {
  if (const absl::Status open = CheckOpen(); !open.ok()) {
    saved(open);
    return;
  }
  Session::Stored& stored = session.stored;
  SessionWrite write;
  write.kind = stored.version == 0 ? SessionWrite::Kind::kCreate : SessionWrite::Kind::kUpdate;
  write.record = {.metadata = metadata,
                  .fingerprint = fingerprint_,
                  .numerics = numerics_,
                  .length = length,
                  .version = stored.version};
  write.keep = std::min(stored.matching, length);
  write.append.assign(session.tokens.begin() + static_cast<ptrdiff_t>(write.keep),
                      session.tokens.begin() + static_cast<ptrdiff_t>(length));
  ++stored.version;
  stored.matching = length;
  const std::optional<size_t> counted = std::exchange(session.counted, length);
  journal_->Write(std::move(write), [this, counted, end = TrustedEnd(),
                                     saved = std::move(saved)](SessionWrite&& done) mutable {
    const SessionRecord& record = done.record;
    Session* here = table_.Find(record.metadata.id);
    if (done.status.ok()) {
      usage_.Add(record.metadata.tenant, record.metadata.id, counted ? 0 : 1,
                 static_cast<int64_t>(record.length) - static_cast<int64_t>(counted.value_or(0)));
    }
    if (done.status.ok() && here != nullptr) {
      here->stored.lease_end = std::max(here->stored.lease_end, end);
      if (here->shown) *here->shown = {record.metadata, record.length};
    }
    const bool lost = absl::IsAborted(done.status) || absl::IsAlreadyExists(done.status);
    saved(lost ? LeaseLost(record.metadata.id) : done.status);
  });
}

void StoredSessions::Hold(Session& session) {
  if (journal_ != nullptr && session.stored.version > 0) journal_->Hold(session.id);
}

void StoredSessions::LetGo(Session& session) {
  if (journal_ != nullptr && session.stored.version > 0) journal_->LetLapse(session.id);
}

void StoredSessions::Drop(Session& session) {
  if (!has_store_) Forget(session);
  table_.Erase(session);
}

void StoredSessions::Delete(const std::string& id, Saved deleted) {
  if (const absl::Status open = CheckOpen(); !open.ok()) {
    deleted(open);
    return;
  }
  if (Session* session = Current(id)) {
    const SessionRecord record = {
        .metadata = *session, .length = session->committed, .version = session->stored.version};
    Drop(*session);
    if (has_store_) {
      DeleteStored(record, std::move(deleted));
    } else {
      deleted(absl::OkStatus());
    }
    return;
  }
  if (!has_store_) {
    deleted(SessionNotFound(id));
    return;
  }
  auto acquired =
      [this, id, deleted = std::move(deleted)](const absl::StatusOr<OwnedSession>& owned) mutable {
        Session* here = table_.Find(id);
        if (here != nullptr && here->busy) {  // a call has begun meanwhile
          lost_(*here, absl::CancelledError(absl::StrCat("session '", id, "' was deleted")));
        } else if (here != nullptr) {
          Drop(*here);
        }
        if (owned.ok()) {
          DeleteStored(owned->record, std::move(deleted));
        } else if (absl::IsDataLoss(owned.status())) {
          // Whatever is left of a damaged session goes.
          DeleteStored({.metadata = {.id = id}}, std::move(deleted));
        } else {
          deleted(owned.status());
        }
      };
  journal_->Acquire(id, std::nullopt, std::move(acquired));
}

void StoredSessions::DeleteStored(const SessionRecord& record, Saved deleted) {
  if (const absl::Status open = CheckOpen(); !open.ok()) {
    deleted(open);
    return;
  }
  SessionWrite write;
  write.kind = SessionWrite::Kind::kDelete;
  write.record = record;
  journal_->Write(
      std::move(write), [this, deleted = std::move(deleted)](SessionWrite&& done) mutable {
        const SessionRecord& record = done.record;
        const std::string& id = record.metadata.id;
        if (!done.status.ok() && journal_ != nullptr) journal_->LetLapse(id);
        if (done.status.ok() && record.version > 0) {
          usage_.Add(record.metadata.tenant, id, -1, -static_cast<int64_t>(record.length));
        }
        deleted(absl::IsAborted(done.status) ? LeaseLost(id) : done.status);
      });
}

Journal::Stats StoredSessions::journal_stats() const {
  return journal_ != nullptr ? journal_->stats() : Journal::Stats();
}

}  // namespace kvasir
