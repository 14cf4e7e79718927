#include "tests/engine/journal/ownership_model.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/check.h"
#include "tests/engine/journal/ownership_state.h"

namespace kvasir::testing {
namespace {

using State = OwnershipState;
using Message = State::Message;
using Replica = State::Replica;
using Stored = State::Stored;

enum class Reply : uint8_t { kOk, kStale, kUnknown, kExists };

enum class Event : uint8_t {
  kStart,
  kAsk,
  kLearn,
  kArriveUnheard,
  kOk,
  kOkUnheard,
  kStale,
  kUnknown,
  kExists,
  kRepeat,
  kGiveUp,
  kCrash,
  kFindNone,
  kAcquire,
  kAcquireUnheard,
  kStopBelieving,
};

constexpr const char* kEventNames[] = {
    "created the session",
    "asks for a turn",
    "learns the session's length",
    "arrives, and the reply is lost",
    "arrives: OK",
    "arrives: OK, which the client does not hear",
    "arrives: STALE",
    "arrives: UNKNOWN",
    "arrives: EXISTS",
    "is sent again",
    "is given up",
    "crashes and starts again",
    "finds no session",
    "acquires",
    "acquires and does not hear of it",
    "gives its lease up",
};

// For the trace.
struct Step {
  Event event;
  uint8_t replica = 0, client = 0;
  WriteName write = 0;
};

class Explorer {
 public:
  Explorer(const OwnershipScope& scope, const OwnershipRules& rules)
      : scope_(scope), rules_(rules) {}

  OwnershipReport Run() {
    State start = {};
    start.stored = {
        .exists = 1, .version = 1, .fence = 1, .first_fence = 1, .write = 1, .last_fence = 1};
    start.replicas[0] = {.has_copy = 1, .owns = 1, .version = 1, .fence = 1, .write = 1};
    Reach(start, {Event::kStart});
    while (!next_.empty() && report_.violation.empty()) {
      const std::vector<State> layer = std::exchange(next_, {});
      const size_t first = origins_.size() - layer.size();
      for (size_t i = 0; i < layer.size() && report_.violation.empty(); ++i) {
        parent_ = static_cast<uint32_t>(first + i);
        Expand(layer[i]);
      }
    }
    report_.states = origins_.size();
    return report_;
  }

 private:
  struct Origin {
    uint32_t parent;
    Step step;
  };

  // --- reaching a state ---

  void Reach(State state, const Step& step) {
    if (!report_.violation.empty()) return;
    ++report_.steps;
    state.Simplify();
    if (broken_.empty()) CheckState(state);
    if (broken_.empty() && !seen_.insert(state.Key()).second) return;
    next_.push_back(state);
    origins_.push_back({parent_, step});
    if (!broken_.empty()) report_.violation = absl::StrCat(broken_, TraceOfLast());
  }

  std::string TraceOfLast() const {
    std::string trace;
    for (size_t i = origins_.size() - 1;; i = origins_[i].parent) {
      const Step& step = origins_[i].step;
      trace = absl::StrCat("\n  replica ", step.replica, ", client ", step.client, ", write ",
                           step.write, ": ", kEventNames[static_cast<int>(step.event)], trace);
      if (i == 0) return trace;
    }
  }

  void Expect(bool holds, const char* property) {
    if (!holds && broken_.empty()) broken_ = property;
  }

  void CheckState(const State& state) {
    const Stored& stored = state.stored;
    const uint8_t there = stored.exists ? stored.tokens.Set() : 0;
    Expect((state.acknowledged & ~there & ~state.removed) == 0, "an acknowledged token is lost");
    int different = 0;
    for (int token = 1; token <= 8; ++token) different += (there & Bit(token)) != 0;
    Expect(!stored.exists || different == stored.tokens.length, "a token is there twice");
    for (const Replica& replica : state.replicas) {
      if (!replica.has_copy) continue;
      Expect(replica.tokens == state.content[replica.write], "a copy that was never stored");
      const bool is_last = stored.exists && replica.fence == stored.fence;
      if (replica.owns && is_last && replica.waiting == 0) {
        Expect(replica.write == stored.write, "an owner's copy is stale");
      }
    }
    bool finished = true;
    for (size_t c = 0; c < scope_.clients.size(); ++c) {
      finished &= state.clients[c].step == scope_.clients[c].size();
    }
    report_.finished += finished;
  }

  // --- what can happen ---

  void Expand(const State& state) {
    const auto clients = static_cast<uint8_t>(scope_.clients.size());
    for (uint8_t c = 0; c < clients; ++c) {
      for (uint8_t r = 0; r < scope_.replicas; ++r) Ask(state, c, r);
    }
    for (WriteName name = 1; name <= kMostWrites; ++name) {
      if (state.messages[name].first) Deliver(state, name, false);
      if (state.messages[name].again) Deliver(state, name, true);
    }
    for (uint8_t r = 0; r < scope_.replicas; ++r) {
      if (state.replicas[r].waiting != 0) {
        Repeat(state, r);
        GiveUp(state, r);
      } else if (state.replicas[r].owns) {
        StopBelieving(state, r);
      } else {
        Acquire(state, r);
      }
      Crash(state, r);
    }
  }

  // A token a wish: 1, 2, ... over all clients.
  int TokenOf(int client, int step) const {
    int token = 0;
    for (int c = 0; c <= client; ++c) {
      const int end = c == client ? step + 1 : static_cast<int>(scope_.clients[c].size());
      for (int s = 0; s < end; ++s) token += scope_.clients[c][s] == Wish::kAppend;
    }
    return token;
  }

  // A client asks a replica, which begins a write where what the client expects is what it has.
  void Ask(const State& state, uint8_t c, uint8_t r) {
    const State::Client& client = state.clients[c];
    const Replica& replica = state.replicas[r];
    if (client.asking || client.step == scope_.clients[c].size() || replica.waiting) return;
    const Wish wish = scope_.clients[c][client.step];
    const auto token = static_cast<uint8_t>(wish == Wish::kAppend ? TokenOf(c, client.step) : 0);
    if (wish != Wish::kCreate) {
      if (!replica.owns) return;
      if (client.length != replica.tokens.length) {
        Mismatch(state, c, r, token);
        return;
      }
    }
    int under_way = 0;
    for (const Message& message : state.messages) under_way += message != Message();
    if (under_way == scope_.under_way || replica.version == scope_.last_version) return;
    const WriteName name = state.UnusedName();
    State next = state;
    Message& message = next.messages[name];
    message = {.wish = wish, .replica = r, .client = c, .token = token, .first = 1};
    if (wish != Wish::kCreate) {
      message.version = replica.version;
      message.fence = replica.fence;
      message.base = replica.write;
      const uint8_t length = replica.tokens.length;
      if (wish == Wish::kAppend) message.keep = length;
      if (wish == Wish::kCutLast && length > 0) message.keep = length - 1;
      message.removes = replica.tokens.SetFrom(message.keep);
    }
    next.replicas[r].waiting = name;
    next.clients[c].asking = name;
    Reach(next, {Event::kAsk, r, c, name});
  }

  // LENGTH_MISMATCH: the client looks whether the session has its turn.
  void Mismatch(State next, uint8_t c, uint8_t r, uint8_t token) {
    State::Client& client = next.clients[c];
    client.length = next.replicas[r].tokens.length;
    if ((next.replicas[r].tokens.Set() & Bit(token)) != 0) {
      ++client.step;
      next.acknowledged |= Bit(token);
    }
    Reach(next, {Event::kLearn, r, c});
  }

  // --- the store ---

  uint8_t NextFence(Stored& stored) const { return ++stored.last_fence; }

  // kWriteRule, kCreate and kDeletedBefore in engine/journal/redis_scripts.cc.
  Reply Answer(State& state, WriteName name, bool again) {
    Stored& stored = state.stored;
    const Message& message = state.messages[name];
    const bool repeats = again && rules_.doubts_repetitions;
    const bool is_own = rules_.knows_own_write && stored.exists && stored.write == name;
    if (message.wish == Wish::kDelete && again && !stored.exists) return Reply::kOk;
    if (is_own) {
      ++report_.twice;
      return Reply::kOk;
    }
    if (message.wish == Wish::kCreate) {
      if (stored.exists) return repeats ? Reply::kUnknown : Reply::kExists;
    } else if (!stored.exists || (rules_.compares_fence && stored.fence != message.fence) ||
               (rules_.compares_version && stored.version != message.version)) {
      return repeats ? Reply::kUnknown : Reply::kStale;
    }
    Accept(state, name);
    return Reply::kOk;
  }

  void Accept(State& state, WriteName name) {
    Stored& stored = state.stored;
    Message& message = state.messages[name];
    Expect(!message.refused, "a write happens that was said not to");
    message.accepted = 1;
    if (message.wish == Wish::kCreate) {
      const uint8_t last = rules_.fences_never_restart ? stored.last_fence : 0;
      stored = {.exists = 1,
                .version = 1,

                .write = name,
                .last_fence = last};
      stored.fence = stored.first_fence = NextFence(stored);
      state.content[name] = {};
      return;
    }
    Expect(stored.write == message.base, "a write happens to a state that it was not made from");
    state.removed |= message.removes;
    if (message.wish == Wish::kDelete) {
      stored = {.last_fence = stored.last_fence};
      return;
    }
    stored.tokens.Keep(message.keep);
    if (message.token != 0 && stored.tokens.length < kMostTokens) {
      stored.tokens.ids[stored.tokens.length++] = message.token;
    }
    stored.version = static_cast<uint8_t>(message.version + 1);
    stored.write = name;
    state.content[name] = stored.tokens;
  }

  void Deliver(const State& state, WriteName name, bool again) {
    State next = state;
    Message& message = next.messages[name];
    (again ? message.again : message.first) = 0;
    const Reply reply = Answer(next, name, again);
    const bool may_arrive =
        next.replicas[message.replica].waiting == name && (again || !message.repeated);
    Reach(next, {Event::kArriveUnheard, message.replica, message.client, name});
    if (may_arrive) Conclude(next, name, reply);
  }

  // --- the replica ---

  void Conclude(State next, WriteName name, Reply reply) {
    Message& message = next.messages[name];
    Replica& replica = next.replicas[message.replica];
    State::Client& client = next.clients[message.client];
    const uint8_t r = message.replica, c = message.client;
    replica.waiting = 0;
    client.asking = 0;
    if (reply == Reply::kExists && message.wish == Wish::kCreate) {
      ++client.step;  // somebody else has created it: as good
      Reach(next, {Event::kExists, r, c, name});
      return;
    }
    if (reply != Reply::kOk) {
      const bool is_stale = reply == Reply::kStale;
      ++(is_stale ? report_.stale : report_.unknown);
      if (is_stale) {
        Expect(!message.accepted, "a write is said not to have happened, but has");
        message.refused = 1;
      } else {
        Expect(next.stored.write != name, "the store doubts the write that made its state");
      }
      replica.owns = 0;
      Reach(next, {is_stale ? Event::kStale : Event::kUnknown, r, c, name});
      return;
    }
    const bool deletes = message.wish == Wish::kDelete;
    Expect(message.accepted || deletes, "a write is said to have happened, but has not");
    if (deletes) {
      replica = {};
    } else if (message.wish == Wish::kCreate) {
      const uint8_t fence =
          rules_.creation_keeps_fence ? next.stored.first_fence : next.stored.fence;
      replica = {.has_copy = 1, .owns = 1, .version = 1, .fence = fence, .write = name};
    } else {
      replica.tokens.Keep(message.keep);
      if (message.token != 0) replica.tokens.ids[replica.tokens.length++] = message.token;
      replica.version = static_cast<uint8_t>(message.version + 1);
      replica.write = name;
    }
    // It counts its lease from before it wrote, so that this has ended where another could acquire
    // the session meanwhile.
    const bool is_late = next.stored.exists && replica.fence != next.stored.fence;
    if (is_late && rules_.serves_within_lease) replica.owns = 0;
    Reach(next, {Event::kOkUnheard, r, c, name});
    next.acknowledged |= Bit(message.token);
    client.length = replica.tokens.length;
    ++client.step;
    Reach(next, {Event::kOk, r, c, name});
  }

  void Repeat(const State& state, uint8_t r) {
    State next = state;
    const WriteName name = next.replicas[r].waiting;
    Message& message = next.messages[name];
    if (message.repeated) return;
    message.repeated = message.again = 1;
    Reach(next, {Event::kRepeat, r, message.client, name});
  }

  // UNAVAILABLE: the outcome of the write is not known.
  void StopWaiting(State& state, uint8_t r) const {
    for (State::Client& client : state.clients) {
      if (client.asking == state.replicas[r].waiting) client.asking = 0;
    }
    state.replicas[r].waiting = 0;
    state.replicas[r].owns = 0;
  }

  void GiveUp(State next, uint8_t r) {
    const WriteName name = next.replicas[r].waiting;
    StopWaiting(next, r);
    Reach(next, {Event::kGiveUp, r, 0, name});
  }

  void Crash(State next, uint8_t r) {
    if (next.replicas[r] == Replica()) return;
    if (next.replicas[r].waiting != 0) StopWaiting(next, r);
    next.replicas[r] = {};
    Reach(next, {Event::kCrash, r});
  }

  // kAcquire.
  void Acquire(State next, uint8_t r) {
    Stored& stored = next.stored;
    Replica& replica = next.replicas[r];
    if (!stored.exists) {
      if (!replica.has_copy) return;
      replica = {};
      Reach(next, {Event::kFindNone, r});
      return;
    }
    for (const Replica& other : next.replicas) {
      const bool holds =
          &other != &replica && other.owns && other.waiting == 0 && other.fence == stored.fence;
      if (holds && rules_.serves_within_lease) return;
    }
    const bool is_own = stored.owner == r + 1;
    if (rules_.acquire_renews_fence || !is_own) stored.fence = NextFence(stored);
    if (!rules_.acquire_renews_fence) stored.owner = r + 1;
    ++report_.acquired;
    Reach(next, {Event::kAcquireUnheard, r});
    const bool is_known =
        replica.has_copy &&
        (rules_.known_by_write ? replica.write == stored.write : replica.version == stored.version);
    if (!is_known) replica.tokens = stored.tokens;
    replica.has_copy = replica.owns = 1;
    replica.version = stored.version;
    replica.fence = stored.fence;
    replica.write = stored.write;
    Reach(next, {Event::kAcquire, r});
  }

  // It releases the session (kRenew), finds its lease lost or too old, or cannot ask.
  void StopBelieving(State next, uint8_t r) {
    next.replicas[r].owns = 0;
    Reach(next, {Event::kStopBelieving, r});
  }

  const OwnershipScope& scope_;
  const OwnershipRules& rules_;
  OwnershipReport report_;
  std::string broken_;
  absl::flat_hash_set<std::pair<uint64_t, uint64_t>> seen_;
  std::vector<State> next_;  // reached, but not yet looked at
  std::vector<Origin> origins_;
  uint32_t parent_ = 0;
};

}  // namespace

OwnershipReport ExploreOwnership(const OwnershipScope& scope, const OwnershipRules& rules) {
  KVASIR_CHECK(scope.replicas <= kMostReplicas && scope.clients.size() <= kMostClients);
  return Explorer(scope, rules).Run();
}

}  // namespace kvasir::testing
