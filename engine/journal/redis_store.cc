#include "engine/journal/redis_store.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/error.h"
#include "engine/journal/redis_reply.h"

namespace kvasir {
namespace {

constexpr size_t kLeasesPerCall = 500;  // no script may hold Redis up for long
constexpr size_t kPage = 1000;
constexpr size_t kMostRemembered = 10'000;   // sessions,
constexpr size_t kLongestRemembered = 1024;  // and tokens of the last run of each
constexpr std::string_view kNoLoss = "to lose none, set appendonly yes and appendfsync always";

std::string RandomName() {
  std::random_device random;
  return absl::StrCat(absl::Hex(random(), absl::kZeroPad8), absl::Hex(random(), absl::kZeroPad8),
                      absl::Hex(random(), absl::kZeroPad8), absl::Hex(random(), absl::kZeroPad8));
}

// A session has expired where Redis has counted its idle time, and the record, in which no bit can
// flip unnoticed, does not contradict that: the clock of the replica that wrote it may be behind
// without harm, and where it is ahead the session lives as much longer.
bool HasExpired(const SessionMetadata& session, std::string_view due_at) {
  int64_t now = 0;
  return session.ttl && absl::SimpleAtoi(std::string(due_at), &now) &&
         session.last_use_time + *session.ttl <= absl::FromUnixMicros(now);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SessionStore>> OpenRedisStore(const std::string& url,
                                                             const std::string& owner) {
  return RedisStore::Open(url, owner);
}

absl::StatusOr<std::unique_ptr<RedisStore>> RedisStore::Open(const std::string& url,
                                                             const std::string& owner,
                                                             absl::Duration lease) {
  auto parsed = ParseRedisUrl(url);
  if (!parsed.ok()) return parsed.status();
  std::unique_ptr<RedisStore> store(new RedisStore(*std::move(parsed), owner, lease));
  if (auto status = store->ReadSettings(); !status.ok()) return status;
  return store;
}

RedisStore::RedisStore(RedisUrl url, std::string owner, absl::Duration lease)
    : connection_(url, RedisScriptTexts()),
      name_(url.WithoutPassword()),
      owner_(std::move(owner)),
      lease_(lease),
      life_(RandomName()) {}

std::string RedisStore::LeaseMs() const { return absl::StrCat(absl::ToInt64Milliseconds(lease_)); }

// The first words that reach Redis, so they also find out whether it is there.
absl::Status RedisStore::ReadSettings() {
  std::vector<RedisCall> calls = {{.words = {"PING"}}};
  const std::vector<std::string> settings = {"appendonly", "appendfsync", "maxmemory-policy"};
  for (const std::string& setting : settings)
    calls.push_back({.words = {"CONFIG", "GET", setting}});
  const auto replies = connection_.Run(calls);
  if (!replies.ok()) return replies.status();
  if (IsError(*(*replies)[0])) return connection_.Failure(Text(*(*replies)[0]));
  std::vector<std::string> values;
  for (size_t i = 1; i < replies->size(); ++i) {
    const redisReply& reply = *(*replies)[i];
    if (IsError(reply) || reply.elements != 2) {
      warning_ = absl::StrCat("session store ", name_, ": whether Redis keeps what it has ",
                              "acknowledged is not known, because it does not permit CONFIG GET; ",
                              std::string(kNoLoss), ", and maxmemory-policy noeviction");
      return absl::OkStatus();
    }
    values.emplace_back(ElementText(reply, 1));
  }
  if (values[0] != "yes" || values[1] != "always") {
    warning_ = absl::StrCat(
        "acknowledged turns may be lost when Redis or its machine stops: ", "appendonly is ",
        values[0], " and appendfsync ", values[1], "; ", std::string(kNoLoss));
  }
  if (values[2] != "noeviction") {
    absl::StrAppend(&warning_, warning_.empty() ? "" : "; and ",
                    "Redis may throw sessions away when its memory is full: maxmemory-policy is ",
                    values[2], "; set it to noeviction");
  }
  if (!warning_.empty()) warning_ = absl::StrCat("session store ", name_, ": ", warning_);
  return absl::OkStatus();
}

absl::StatusOr<RedisReply> RedisStore::RunOne(RedisCall call) {
  auto replies = connection_.Run({&call, 1});
  if (!replies.ok()) return replies.status();
  if (IsError(*replies->front())) return connection_.Failure(Text(*replies->front()));
  return std::move(replies->front());
}

absl::Status RedisStore::StatusOf(const std::string& id, const redisReply& reply) const {
  if (IsError(reply)) return connection_.Failure(Text(reply));
  const std::string_view code = ElementText(reply, 0);
  if (code == "OK") return absl::OkStatus();
  if (code == "MISSING") {
    return MakeError(Reason::kSessionNotFound, absl::StrCat("session_id: no session '", id, "'"),
                     {{"session_id", id}});
  }
  if (code == "EXISTS") {
    return MakeError(Reason::kSessionExists, absl::StrCat("session '", id, "' exists already"),
                     {{"session_id", id}});
  }
  if (code == "OWNER") {
    const std::string owner(ElementText(reply, 1));
    return MakeError(Reason::kNotOwner, absl::StrCat("session '", id, "' is served by ", owner),
                     {{"session_id", id}, {"owner", owner}});
  }
  if (code == "DAMAGED") {
    return SessionDamaged(id, ElementText(reply, 1), "not there, or not what Kvasir writes there");
  }
  if (code == "UNKNOWN") {
    return connection_.Failure(
        absl::StrCat("the connection broke; whether session '", id, "' was written is not known"));
  }
  if (code == "STALE") {
    return absl::AbortedError(
        absl::StrCat("session '", id, "': another replica has written it since"));
  }
  return connection_.Failure("an answer that no script of Kvasir gives");
}

absl::StatusOr<DecodedRecord> RedisStore::Decode(const std::string& id, std::string_view bytes,
                                                 std::string_view version,
                                                 std::string_view due_at) {
  ++counts_.records_read;
  auto decoded = DecodeRecord(id, bytes);
  if (!decoded.ok()) return decoded;
  if (absl::StrCat(decoded->record.version) != std::string(version)) {
    return SessionDamaged(id, "metadata", "its two versions differ");
  }
  decoded->record.expired = HasExpired(decoded->record.metadata, due_at);
  return decoded;
}

absl::StatusOr<std::vector<int>> RedisStore::DecodeRuns(const DecodedRecord& record,
                                                        const redisReply& runs) {
  TokensReader reader(record);
  for (size_t i = 0; i < runs.elements; ++i) {
    ++counts_.records_read;
    if (auto status = reader.Append(ElementText(runs, i)); !status.ok()) return status;
  }
  return reader.Finish();
}

void RedisStore::Remember(const std::string& id, Known known) {
  if (known_.size() >= kMostRemembered) known_.clear();
  if (known.last_run && known.last_run->tokens.size() > kLongestRemembered) known.last_run.reset();
  known_[id] = std::move(known);
}

absl::StatusOr<OwnedSession> RedisStore::Acquire(const std::string& id,
                                                 std::optional<uint64_t> known) {
  const auto remembered = known_.find(id);
  const bool is_known =
      known.has_value() && remembered != known_.end() && remembered->second.version == *known;
  auto reply = RunOne(ScriptCall(
      RedisScript::kAcquire, {id, owner_, LeaseMs(), is_known ? remembered->second.write : ""}));
  if (!reply.ok()) return reply.status();
  if (auto status = StatusOf(id, **reply); !status.ok()) return status;

  // OK, record, version, runs (nil: known), write, fence, taken over, due at
  auto decoded =
      Decode(id, ElementText(**reply, 1), ElementText(**reply, 2), ElementText(**reply, 7));
  if (!decoded.ok()) return decoded.status();
  OwnedSession session = {.taken_over = ElementText(**reply, 6) == "1"};
  if (!absl::SimpleAtoi(std::string(ElementText(**reply, 5)), &session.fence)) {
    return connection_.Failure("a fence that is no number");
  }
  if (const redisReply& runs = Element(**reply, 3); runs.type == REDIS_REPLY_ARRAY) {
    auto tokens = DecodeRuns(*decoded, runs);
    if (!tokens.ok()) return tokens.status();
    session.tokens = *std::move(tokens);
    Known now = {.version = decoded->record.version, .write = std::string(ElementText(**reply, 4))};
    if (runs.elements > 0) {
      auto last = DecodeRun(id, "tokens", ElementText(runs, runs.elements - 1));
      if (!last.ok()) return last.status();
      now.last_run = *std::move(last);
    }
    Remember(id, std::move(now));
  }
  session.record = std::move(decoded->record);
  return session;
}

absl::StatusOr<RedisReply> RedisStore::Read(const std::string& id, RedisScript script) {
  auto reply = RunOne(ScriptCall(script, {id}));
  if (!reply.ok()) return reply;
  if (auto status = StatusOf(id, **reply); !status.ok()) return status;
  return reply;
}

absl::StatusOr<StoredSession> RedisStore::Load(const std::string& id) {
  // OK, record, version, due at, runs
  auto reply = Read(id, RedisScript::kLoad);
  if (!reply.ok()) return reply.status();
  auto decoded =
      Decode(id, ElementText(**reply, 1), ElementText(**reply, 2), ElementText(**reply, 3));
  if (!decoded.ok()) return decoded.status();
  auto tokens = DecodeRuns(*decoded, Element(**reply, 4));
  if (!tokens.ok()) return tokens.status();
  return StoredSession{std::move(decoded->record), *std::move(tokens)};
}

absl::StatusOr<SessionRecord> RedisStore::LoadRecord(const std::string& id) {
  auto reply = Read(id, RedisScript::kLoadRecord);
  if (!reply.ok()) return reply.status();
  auto decoded =
      Decode(id, ElementText(**reply, 1), ElementText(**reply, 2), ElementText(**reply, 3));
  if (!decoded.ok()) return decoded.status();
  return std::move(decoded->record);
}

absl::StatusOr<std::vector<std::string>> RedisStore::SetLeases(std::span<const Lease> leases,
                                                               absl::Duration lease) {
  std::vector<RedisCall> calls;
  for (size_t begin = 0; begin < leases.size(); begin += kLeasesPerCall) {
    RedisCall call = ScriptCall(RedisScript::kRenew, {});
    call.words.push_back(absl::StrCat(absl::ToInt64Milliseconds(lease)));
    for (const Lease& one :
         leases.subspan(begin, std::min(kLeasesPerCall, leases.size() - begin))) {
      call.words.push_back(one.id);
      call.words.push_back(absl::StrCat(one.fence));
    }
    calls.push_back(std::move(call));
  }
  std::vector<std::string> lost;
  if (calls.empty()) return lost;
  const auto replies = connection_.Run(calls);
  if (!replies.ok()) return replies.status();
  for (const RedisReply& reply : *replies) {
    if (IsError(*reply)) return connection_.Failure(Text(*reply));
    for (size_t i = 0; i < reply->elements; ++i) lost.emplace_back(ElementText(*reply, i));
  }
  return lost;
}

absl::StatusOr<std::vector<std::string>> RedisStore::Renew(std::span<const Lease> leases) {
  return SetLeases(leases, lease_);
}

absl::Status RedisStore::Release(std::span<const Lease> leases) {
  return SetLeases(leases, absl::ZeroDuration()).status();
}

absl::StatusOr<SessionStore::Page> RedisStore::List(
    const std::string& after, const std::string& before, size_t count,
    const std::map<std::string, std::string>& labels) {
  Page page;
  const std::string end = before.empty() ? "+" : "(" + before;
  std::string last = after;
  size_t examined = 0;
  bool may_end = false;  // not after a damaged id: it is no place to go on from
  while (true) {
    // One more tells whether there are more. Where most are left out, small reads would only be
    // more of them.
    const size_t wanted = labels.empty() ? std::min(kPage, count - page.records.size() + 1) : kPage;
    auto reply = RunOne(ScriptCall(RedisScript::kList, {last, end, absl::StrCat(wanted)}));
    if (!reply.ok()) return reply.status();
    for (size_t i = 0; i < (*reply)->elements; ++i) {
      if (may_end && (page.records.size() >= count || examined >= kMostExamined)) {
        page.next = std::move(last);
        return page;
      }
      ++examined;
      const redisReply& found = Element(**reply, i);
      last = ElementText(found, 0);
      auto decoded =
          Decode(last, ElementText(found, 1), ElementText(found, 2), ElementText(found, 4));
      may_end = decoded.ok();
      if (!decoded.ok()) {
        page.damaged.push_back(last);
      } else if (HasLabels(decoded->record.metadata, labels)) {
        page.records.push_back(std::move(decoded->record));
      }
    }
    if ((*reply)->elements < wanted) return page;
  }
}

absl::StatusOr<uint64_t> RedisStore::Size() {
  auto reply = RunOne({.words = {"ZCARD", "kvasir:ids"}});
  if (!reply.ok()) return reply.status();
  return static_cast<uint64_t>((*reply)->integer);
}

// The sorted set tells where to look; a damaged session stays.
absl::StatusOr<std::vector<std::string>> RedisStore::Expire(
    const std::set<std::string>& /*in_use: leased*/) {
  std::vector<std::string> expired;
  for (size_t passed = 0; expired.size() < kPage;) {
    auto page = RunOne(ScriptCall(RedisScript::kIdle,
                                  {absl::StrCat(passed), absl::StrCat(kPage - expired.size())}));
    if (!page.ok()) return page.status();
    if ((*page)->elements == 0) break;
    std::vector<RedisCall> calls;
    for (size_t i = 0; i < (*page)->elements; ++i) {
      const redisReply& found = Element(**page, i);
      const std::string id(ElementText(found, 0));
      const auto decoded =
          Decode(id, ElementText(found, 1), ElementText(found, 2), ElementText(found, 4));
      if (!decoded.ok() || !decoded->record.expired) continue;
      calls.push_back(
          ScriptCall(RedisScript::kExpire, {id, LeaseMs(), std::string(ElementText(found, 3))}));
    }
    const size_t before = expired.size();
    if (!calls.empty()) {
      const auto replies = connection_.Run(calls);
      if (!replies.ok()) return replies.status();
      for (size_t i = 0; i < calls.size(); ++i) {
        if (StatusOf(calls[i].words[0], *(*replies)[i]).ok()) expired.push_back(calls[i].words[0]);
      }
    }
    for (size_t i = before; i < expired.size(); ++i) known_.erase(expired[i]);
    passed += (*page)->elements - (expired.size() - before);
  }
  return expired;
}

}  // namespace kvasir
