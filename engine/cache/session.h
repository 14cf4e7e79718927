#ifndef KVASIR_ENGINE_CACHE_SESSION_H_
#define KVASIR_ENGINE_CACHE_SESSION_H_

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "engine/sampling.h"

namespace kvasir {

enum class FinishReason { kUnspecified, kStopToken, kMaxNewTokens, kMaxContext, kInterrupted };

// What a session carries besides its tokens and their cache: all of it outlives the process where
// sessions are stored.
struct SessionMetadata {
  std::string id;      // empty: one-shot, in no table
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

  // What the session's store, if there is one, has of it once the writes that are under way have
  // come through.
  struct Stored {
    uint64_t version = 0;  // 0: nothing
    size_t matching = 0;   // of `tokens`, so many are the store's first ones
    absl::Time lease_end = absl::InfinitePast();
  };
  Stored stored;

  // Its place in one of the table's lists of sessions that no running call uses, if it has one.
  std::optional<std::list<Session*>::iterator> idle;
  bool bare = false;  // in the list of those without blocks
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_CACHE_SESSION_H_
