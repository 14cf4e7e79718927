// What is seen of sessions, in memory or not, and what is done to all of them now and then.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/error.h"
#include "engine/stored_sessions.h"

namespace kvasir {
namespace {

// Sessions that nobody has used for so long leave the memory.
constexpr absl::Duration kUnloadAfter = absl::Minutes(5);
constexpr absl::Duration kSweepEvery = absl::Seconds(5);
constexpr absl::Duration kCountEvery = absl::Minutes(1);
constexpr size_t kCountedAtOnce = 1000;

// Whether the store's record is of what is in memory, as far as can be told without its tokens: an
// id that another replica has made anew may have the same version again.
bool IsSameState(const Session& session, const SessionRecord& record) {
  return session.stored.version == record.version &&
         session.create_time == record.metadata.create_time &&
         session.last_use_time == record.metadata.last_use_time;
}

}  // namespace

bool StoredSessions::SeeHere(const std::string& id, Seen& seen) {
  if (const absl::Status open = CheckOpen(); !open.ok()) {
    seen(open);
  } else if (const Session* session = Current(id); session != nullptr && IsFresh(*session)) {
    seen(ViewOf(*session));
  } else if (!has_store_) {
    seen(SessionNotFound(id));
  } else {
    return false;
  }
  return true;
}

void StoredSessions::SeeStored(const absl::StatusOr<SessionRecord>& record,
                               const std::vector<int>* tokens, const std::string& id, Seen& seen) {
  absl::Status status = record.status();
  const Session* here = table_.Find(id);
  const bool in_use = here != nullptr && here->busy;
  if (status.ok() && record->expired && !in_use) status = SessionNotFound(id);
  if (status.ok()) status = CheckModel(*record);
  if (status.ok()) {
    seen(ViewOfStored(*record, tokens));
  } else {
    seen(status);
  }
}

void StoredSessions::Read(const std::string& id, Seen seen) {
  if (SeeHere(id, seen)) return;
  journal_->Load(
      id, [this, id, seen = std::move(seen)](const absl::StatusOr<StoredSession>& stored) mutable {
        if (stored.ok()) {
          SeeStored(stored->record, &stored->tokens, id, seen);
        } else {
          seen(stored.status());
        }
      });
}

void StoredSessions::Describe(const std::string& id, Seen seen) {
  if (SeeHere(id, seen)) return;
  journal_->LoadRecord(
      id, [this, id, seen = std::move(seen)](const absl::StatusOr<SessionRecord>& record) mutable {
        SeeStored(record, nullptr, id, seen);
      });
}

SessionView StoredSessions::ViewOfStored(const SessionRecord& record,
                                         const std::vector<int>* tokens) {
  SessionView view = {.metadata = &record.metadata, .length = record.length};
  if (tokens != nullptr) view.tokens = *tokens;
  const Session* here = table_.Find(record.metadata.id);
  if (here == nullptr) return view;
  view.busy = here->busy;
  if (tokens != nullptr) {
    view.cached = std::min(here->cached, CommonPrefix(here->tokens, *tokens));
  } else if (IsSameState(*here, record)) {
    view.cached = std::min<size_t>(here->cached, record.length);
  }
  return view;
}

void StoredSessions::List(const std::string& after, const std::string& before, size_t count,
                          const std::map<std::string, std::string>& labels, Listed listed) {
  if (const absl::Status open = CheckOpen(); !open.ok()) {
    listed(open);
    return;
  }
  if (!has_store_) {
    const SessionTable::Page found = table_.List(after, before, count, labels);
    Page page = {.next = found.next};
    for (const Session* session : found.sessions) page.sessions.push_back(ViewOf(*session));
    listed(std::move(page));
    return;
  }
  journal_->List(
      after, before, count, labels,
      [this, listed = std::move(listed)](absl::StatusOr<SessionStore::Page> found) mutable {
        if (!found.ok()) {
          listed(found.status());
          return;
        }
        WarnOfDamage(found->damaged);
        Page page = {.next = found->next};
        for (const SessionRecord& record : found->records) {
          const Session* here = Current(record.metadata.id);
          if (here != nullptr && IsFresh(*here)) {
            page.sessions.push_back(ViewOf(*here));
          } else if (!record.expired) {
            page.sessions.push_back(ViewOfStored(record, nullptr));
          }
        }
        listed(std::move(page));
      });
}

void StoredSessions::WarnOfDamage(const std::vector<std::string>& ids) {
  for (const std::string& id : ids) {
    if (!warned_damaged_.insert(id).second || !warn_) continue;
    warn_(absl::StrCat("session '", id, "' is damaged in the store and left as it is"));
  }
}

void StoredSessions::Settled(Session& session) {
  if (has_store_) return;
  usage_.Add(
      session.tenant, session.id, session.counted ? 0 : 1,
      static_cast<int64_t>(session.committed) - static_cast<int64_t>(session.counted.value_or(0)));
  session.counted = session.committed;
}

void StoredSessions::Forget(const Session& session) {
  if (!session.counted) return;
  usage_.Add(session.tenant, session.id, -1, -static_cast<int64_t>(*session.counted));
}

// What is written while a page is on its way here is in it, or is told later: both come in the
// order in which they happened.
void StoredSessions::CountUsage(const std::string& after) {
  journal_->List(after, "", kCountedAtOnce, {},
                 [this](const absl::StatusOr<SessionStore::Page>& page) {
                   if (!page.ok()) {
                     usage_.GiveUpCount();
                     return;
                   }
                   for (const SessionRecord& record : page->records) {
                     usage_.Count(record.metadata.tenant, static_cast<int64_t>(record.length));
                   }
                   if (page->next.empty()) {
                     usage_.EndCount();
                   } else if (journal_ != nullptr) {
                     usage_.HaveCountedTo(page->next);
                     CountUsage(page->next);
                   }
                 });
}

absl::Time StoredSessions::Sweep(absl::Time now) {
  if (!has_store_) {
    if (next_sweep_ > now) return next_sweep_;
    const auto next = table_.Expire(now, [this](const Session& session) { Forget(session); });
    next_sweep_ = next.value_or(absl::InfiniteFuture());
    return next_sweep_;
  }
  if (usage_.limited() && next_count_ <= now) {
    next_count_ = now + kCountEvery;
    if (usage_.BeginCount()) CountUsage("");
  }
  if (next_sweep_ > now) return next_sweep_;
  next_sweep_ = now + kSweepEvery;
  table_.EraseIdle(now - kUnloadAfter);
  journal_->Expire([this](const absl::StatusOr<std::vector<std::string>>& expired) {
    if (!expired.ok()) return;  // a store that cannot be reached tells whoever asks for a session
    for (const std::string& id : *expired) {
      Session* session = table_.Find(id);
      if (session != nullptr && !session->busy) Drop(*session);
    }
  });
  return next_sweep_;
}

}  // namespace kvasir
