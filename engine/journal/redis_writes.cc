// How RedisStore writes: it looks for the last run where it must, then sends all writes at once.
#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/error.h"
#include "engine/journal/redis_reply.h"
#include "engine/journal/redis_store.h"

namespace kvasir {
namespace {

using Kind = SessionWrite::Kind;

// How many of the last runs are read at first, and how many times more when that was too few.
constexpr size_t kFirstRead = 1, kReadMore = 8;

// In microseconds, rounded up; empty where there is none.
std::string TtlOf(const SessionMetadata& session) {
  if (!session.ttl) return "";
  return absl::StrCat(absl::ToInt64Microseconds(absl::Ceil(*session.ttl, absl::Microseconds(1))));
}

}  // namespace

void RedisStore::Write(std::span<SessionWrite> writes) {
  std::vector<Pending> pending;
  for (SessionWrite& write : writes) {
    write.status = absl::OkStatus();
    if (write.kind == Kind::kDelete && write.record.version == 0) {
      write.status = DeleteDamaged(write.record.metadata.id);
    } else {
      pending.push_back({.write = &write, .name = absl::StrCat(life_, ":", ++writes_)});
    }
  }
  FindTails(pending);
  std::vector<RedisCall> calls;
  std::vector<Pending*> called;
  for (Pending& one : pending) {
    if (auto call = CallOf(one)) {
      calls.push_back(*std::move(call));
      called.push_back(&one);
    }
  }
  if (calls.empty()) return;
  ++counts_.commits;
  const auto replies = connection_.Run(calls);
  for (size_t i = 0; i < called.size(); ++i) {
    if (replies.ok()) {
      Conclude(*called[i], *(*replies)[i]);
    } else {
      called[i]->write->status = replies.status();
    }
  }
}

void RedisStore::FindTails(std::vector<Pending>& pending) {
  std::vector<Pending*> searching;
  for (Pending& one : pending) {
    const SessionWrite& write = *one.write;
    if (write.kind != Kind::kUpdate || write.keep == 0) continue;
    const auto known = known_.find(write.record.metadata.id);
    if (known != known_.end() && known->second.version == write.record.version &&
        known->second.last_run && known->second.last_run->start < write.keep) {
      one.tail = {*known->second.last_run, 0};
    } else {
      searching.push_back(&one);
    }
  }
  for (size_t count = kFirstRead; !searching.empty(); count *= kReadMore) {
    std::vector<RedisCall> calls;
    for (const Pending* one : searching) {
      const SessionWrite& write = *one->write;
      calls.push_back(ScriptCall(RedisScript::kTail,
                                 {write.record.metadata.id, one->name, absl::StrCat(write.fence),
                                  absl::StrCat(write.record.version), absl::StrCat(count)}));
    }
    const auto replies = connection_.Run(calls);
    std::vector<Pending*> further;
    for (size_t i = 0; i < searching.size(); ++i) {
      Pending& one = *searching[i];
      auto tail = replies.ok() ? FindTail(one, *(*replies)[i], count)
                               : absl::StatusOr<std::optional<Tail>>(replies.status());
      if (!tail.ok()) {
        one.write->status = tail.status();
      } else if (tail->has_value()) {
        one.tail = **std::move(tail);
      } else {
        further.push_back(&one);
      }
    }
    searching = std::move(further);
  }
}

// Not set: it lies further in front.
absl::StatusOr<std::optional<RedisStore::Tail>> RedisStore::FindTail(const Pending& pending,
                                                                     const redisReply& reply,
                                                                     size_t asked) {
  const std::string& id = pending.write->record.metadata.id;
  if (ElementText(reply, 0) != "RUNS") {
    auto status = StatusOf(id, reply);
    return status.ok() ? connection_.Failure("a tail of runs was answered with OK") : status;
  }
  const redisReply& runs = Element(reply, 1);
  for (size_t behind = 0; behind < runs.elements; ++behind) {
    ++counts_.records_read;
    auto run = DecodeRun(id, "tokens", ElementText(runs, runs.elements - 1 - behind));
    if (!run.ok()) return run.status();
    if (run->start < pending.write->keep) return Tail{*std::move(run), behind};
  }
  if (runs.elements == asked) return std::nullopt;
  return SessionDamaged(id, TokensFrom(0), "they are missing");
}

std::optional<RedisCall> RedisStore::CallOf(Pending& pending) {
  SessionWrite& write = *pending.write;
  if (!write.status.ok()) return std::nullopt;
  const std::string& id = write.record.metadata.id;
  const std::string fence = absl::StrCat(write.fence), version = absl::StrCat(write.record.version);
  if (write.kind == Kind::kDelete) {
    return ScriptCall(RedisScript::kDelete, {id, pending.name, fence, version});
  }
  const auto change = ChangeRuns(write, pending.tail ? &pending.tail->run : nullptr);
  if (!change.ok()) {
    write.status = change.status();
    return std::nullopt;
  }
  SessionRecord next = write.record;
  ++next.version;
  std::string record = EncodeRecord(next, change->last_run);
  counts_.bytes_written += record.size();

  RedisCall call;
  if (write.kind == Kind::kCreate) {
    call = ScriptCall(RedisScript::kCreate, {id, pending.name, owner_, LeaseMs(), std::move(record),
                                             TtlOf(next.metadata)});
  } else {
    std::string gone = "all";
    if (pending.tail) {
      const bool goes = change->from <= pending.tail->run.start;
      gone = absl::StrCat(pending.tail->behind + (goes ? 1 : 0));
      if (!goes) pending.last_run = std::move(pending.tail->run);
    }
    call = ScriptCall(RedisScript::kUpdate,
                      {id, pending.name, fence, version, LeaseMs(), std::move(record),
                       absl::StrCat(next.version), TtlOf(next.metadata), std::move(gone)});
  }
  call.words.push_back(absl::StrCat(change->runs.size()));
  for (const RunsChange::Run& run : change->runs) {
    counts_.bytes_written += run.bytes.size();
    call.words.push_back(run.bytes);
  }
  if (!change->runs.empty()) {
    auto last = DecodeRun(id, "tokens", change->runs.back().bytes);
    if (last.ok()) pending.last_run = *std::move(last);
  }
  return call;
}

void RedisStore::Conclude(Pending& pending, const redisReply& reply) {
  SessionWrite& write = *pending.write;
  const std::string& id = write.record.metadata.id;
  write.status = StatusOf(id, reply);
  if (!write.status.ok()) return;
  if (write.kind == Kind::kDelete) {
    known_.erase(id);
    return;
  }
  Known known = {write.record.version + 1, pending.name, std::move(pending.last_run)};
  Remember(id, std::move(known));
  if (write.kind == Kind::kCreate &&
      !absl::SimpleAtoi(std::string(ElementText(reply, 1)), &write.new_fence)) {
    write.status = connection_.Failure("a fence that is no number");
  }
}

absl::Status RedisStore::DeleteDamaged(const std::string& id) {
  auto found = RunOne(ScriptCall(RedisScript::kLoad, {id}));
  if (!found.ok()) return found.status();
  auto status = StatusOf(id, **found);
  std::string record;  // what stands at its place
  bool is_damaged = absl::IsDataLoss(status);
  if (is_damaged) {
    record = ElementText(**found, 2);
  } else if (status.ok()) {
    record = ElementText(**found, 1);
    const auto decoded = Decode(id, record, ElementText(**found, 2), ElementText(**found, 3));
    is_damaged = !decoded.ok() || !DecodeRuns(*decoded, Element(**found, 4)).ok();
  } else if (!absl::IsNotFound(status)) {
    return status;
  }
  if (!is_damaged) return absl::AbortedError(absl::StrCat("session '", id, "' is not damaged"));
  auto reply = RunOne(ScriptCall(RedisScript::kDeleteDamaged, {id, record}));
  if (!reply.ok()) return reply.status();
  known_.erase(id);
  return StatusOf(id, **reply);
}

}  // namespace kvasir
