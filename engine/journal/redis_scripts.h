#ifndef KVASIR_ENGINE_JOURNAL_REDIS_SCRIPTS_H_
#define KVASIR_ENGINE_JOURNAL_REDIS_SCRIPTS_H_

#include <string>
#include <vector>

namespace kvasir {

// What Redis itself executes, in Lua, each script as one atomic step. A session ID is
//
//   kvasir:s:ID:record  hash: record (its bytes), version, runs (how many), write (which write made
//                       it what it is), fence, first_fence (of its creation), owner, lease_until
//                       (ms of Redis' clock; 0: released)
//   kvasir:s:ID:runs    list of encoded runs of tokens, in their order
//   kvasir:ids          sorted set of all ids, all of score 0: in the order of their bytes
//   kvasir:expiry       sorted set of those with a ttl, by the time when they will have been idle
//   so
//                       long (microseconds of Redis' clock since 1970)
//   kvasir:fence        the last fence that was given to anybody
//
// Keys are not declared as a Redis Cluster would need it: all of it lives in one Redis.
//
// No script fails half-way: types are looked at before the first change, the first change is one
// that Redis refuses when its memory is full, and Redis refuses nothing after it.
enum class RedisScript {
  kCreate,
  kTail,
  kUpdate,
  kDelete,
  kDeleteDamaged,
  kAcquire,
  kLoad,
  kLoadRecord,
  kRenew,
  kList,
  kIdle,
  kExpire,
};

// By RedisScript.
std::vector<std::string> RedisScriptTexts();

}  // namespace kvasir

#endif  // KVASIR_ENGINE_JOURNAL_REDIS_SCRIPTS_H_
