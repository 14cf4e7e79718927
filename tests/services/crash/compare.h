#ifndef KVASIR_TESTS_SERVICES_CRASH_COMPARE_H_
#define KVASIR_TESTS_SERVICES_CRASH_COMPARE_H_

#include "engine/engine.h"
#include "tests/services/crash/history.h"
#include "tests/services/crash/load.h"

namespace kvasir::testing {

// What was found of sessions after their server's death.
struct Found {
  int sessions = 0;
  // Turns that were under way.
  int whole = 0, absent = 0, partly = 0;
  int lost_turns = 0;  // acknowledged, not durable by `none`, and not there

  Found& operator+=(const Found& other);
};

// Asks the server, which has come back with its store, for the session, and compares with what
// `durability` promises: a failure where it is anything else. `session` then knows what it is.
Found CompareAfterDeath(v1::ModelService::Stub& stub, Reference& reference, Durability durability,
                        KnownSession& session);

// Does the turn on both servers; a failure where a token or a bit of a log-probability differs.
void ContinueOnBoth(v1::ModelService::Stub& stub, Reference& reference,
                    const v1::GenerateRequest& turn, KnownSession& session);

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_CRASH_COMPARE_H_
