#ifndef KVASIR_TESTS_ENGINE_JOURNAL_OWNERSHIP_MODEL_H_
#define KVASIR_TESTS_ENGINE_JOURNAL_OWNERSHIP_MODEL_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace kvasir::testing {

// Who owns a session, in the small: every behaviour of a few replicas, one session in a store, and
// one or two clients that repeat what they do not know the outcome of. The store's steps are those
// of the scripts in engine/journal/redis_scripts.cc; kWriteRule there is Answer() here.
//
// Writes arrive once or, when they are repeated, twice, late, in any order, or never; replies get
// lost. A lease may end at any time, which stands for all clocks: so it keeps nobody from
// acquiring, and is not in the model at all; what a replica believes of it is.

// The rules; each may be broken, to see that a property notices.
struct OwnershipRules {
  bool compares_fence = true;
  bool compares_version = true;
  bool knows_own_write = true;       // what made the stored state is OK a second time
  bool doubts_repetitions = true;    // one that does not fit is UNKNOWN, not STALE
  bool fences_never_restart = true;  // not with a new session under an old id either
  bool acquire_renews_fence = true;  // where the lease is the replica's own, too
  bool known_by_write = true;        // a copy in memory is known by its write, not its version
  bool creation_keeps_fence = true;  // a repeated creation is told its own fence, not today's
  bool serves_within_lease = true;   // a replica answers nothing from memory once others may own it
};

enum class Wish : uint8_t { kAppend, kCutLast, kDelete, kCreate };

// How small. Acquires, crashes, renewals and repetitions by clients are not limited.
struct OwnershipScope {
  int replicas = 2;
  std::vector<std::vector<Wish>> clients;  // what each wants, one after the other
  int under_way = 2;     // writes that have not arrived, or whose reply is awaited
  int last_version = 5;  // no write begins at it
};

struct OwnershipReport {
  uint64_t states = 0, steps = 0;
  std::string violation;  // empty: none; else the property, and a shortest way to break it
  // How often it happened: whether what matters was explored at all.
  uint64_t stale = 0, unknown = 0, twice = 0, acquired = 0, finished = 0;
};

// Looks at every state that can be reached, nearest first, until one violates a property:
// - No acknowledged token is missing from the store, unless a cut or deletion by one who knew of it
//   removed it; no token is there twice.
// - A write happens only to the state that it was made from: so of two for one version, one does.
// - Who is told OK, has written; who is told STALE, has not and never will; UNKNOWN is told only
//   where the stored state is another write's.
// - A copy in memory is a state that the store has really had. It is the newest one where its
//   replica was the last to acquire the session, believes in its lease and waits for no write. So
//   what is read from memory is stale only where a replica overstays its lease and another has
//   taken the session.
OwnershipReport ExploreOwnership(const OwnershipScope& scope, const OwnershipRules& rules);

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_JOURNAL_OWNERSHIP_MODEL_H_
