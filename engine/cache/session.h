#ifndef KVASIR_ENGINE_CACHE_SESSION_H_
#define KVASIR_ENGINE_CACHE_SESSION_H_

#include <algorithm>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "engine/lease_clock.h"
#include "engine/sampling.h"

namespace kvasir {

enum class FinishReason { kUnspecified, kStopToken, kMaxNewTokens, kMaxContext, kInterrupted };

// What a session carries besides its tokens and their cache: all of it outlives the process where
// sessions are stored.
struct SessionMetadata {
  std::string id;      // its SessionKey; empty: one-shot, in no table
  std::string tenant;  // who it belongs to; nothing is shared between tenants
  absl::Time create_time, last_use_time;
  std::optional<absl::Duration> ttl;
  std::string parent_id;
  std::map<std::string, std::string> labels;
  SamplingOverrides sampling;  // the seed is always set
  std::string last_request_id;
  uint64_t last_base_length = 0;
  FinishReason last_finish_reason = FinishReason::kUnspecified;
};

// A session IS its list of token ids; the blocks are a cache of what the model computed for a
// prefix of it, and may be dropped at any time.
struct Session : SessionMetadata {
  // The committed tokens, then the input of a running call until its first token commits both, then
  // perhaps -1 - r, for what row r of the running step draws.
  std::vector<int> tokens;
  size_t committed = 0;  // the length that everyone else sees
  // K and V of tokens[0, cached) are in `blocks`. cached <= tokens.size()
  size_t cached = 0;
  std::vector<int> blocks;  // exactly enough for `cached`, between steps
  // Of tokens[0, computed) this process has computed K and V once. May be too large where tokens
  // have been cut off since.
  size_t computed = 0;

  bool busy = false;  // a call waits or runs, or its end is on its way to the store
  // While a call is on it whose tokens are stored before others hear of them: what is stored.
  struct Shown {
    SessionMetadata metadata;
    size_t length = 0;
  };
  std::unique_ptr<Shown> shown;

  // Its tokens that count as its tenant's. Not set: it does not count.
  std::optional<size_t> counted;

  // What the session's store, if there is one, has of it once the writes that are under way have
  // come through.
  struct Stored {
    uint64_t version = 0;  // 0: nothing
    size_t matching = 0;   // of `tokens`, so many are the store's first ones
    // Until then nobody else can have written it.
    LeaseClock::time_point lease_end = LeaseClock::time_point::min();
  };
  Stored stored;

  // Its place in one of the table's lists of sessions that no running call uses, if it has one.
  std::optional<std::list<Session*>::iterator> idle;
  bool bare = false;  // in the list of those without blocks
};

// What everyone sees of a session but the call that is on it.
struct SessionView {
  const SessionMetadata* metadata = nullptr;
  std::span<const int> tokens;  // [length]; none where they were not asked for
  size_t length = 0;
  size_t cached = 0;
  bool busy = false;
};

inline SessionView ViewOf(const Session& session) {
  const size_t length = session.shown ? session.shown->length : session.committed;
  return {.metadata = session.shown ? &session.shown->metadata : &session,
          .tokens = std::span(session.tokens).first(length),
          .length = length,
          .cached = std::min(session.cached, length),
          .busy = session.busy};
}

// A page of a list looks at no more sessions than so many, however few carry the labels that are
// asked for: whoever has much to look through does not keep others waiting.
constexpr size_t kMostExamined = 5000;

inline bool HasLabels(const SessionMetadata& session,
                      const std::map<std::string, std::string>& labels) {
  return std::all_of(labels.begin(), labels.end(), [&](const auto& wanted) {
    const auto found = session.labels.find(wanted.first);
    return found != session.labels.end() && found->second == wanted.second;
  });
}

// How many tokens two sessions have in common at their beginning.
inline size_t CommonPrefix(std::span<const int> a, std::span<const int> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

}  // namespace kvasir

#endif  // KVASIR_ENGINE_CACHE_SESSION_H_
