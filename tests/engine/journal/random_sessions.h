#ifndef KVASIR_TESTS_ENGINE_JOURNAL_RANDOM_SESSIONS_H_
#define KVASIR_TESTS_ENGINE_JOURNAL_RANDOM_SESSIONS_H_

#include <random>
#include <string>
#include <vector>

#include "engine/journal/session_store.h"

namespace kvasir::testing {

// Any record that an engine could have: every field set or not.
SessionRecord RandomRecord(const std::string& id, std::mt19937_64& random);

std::vector<int> RandomTokens(size_t count, std::mt19937_64& random);

// "" where all fields are equal, else the name of one that is not.
std::string Difference(const SessionRecord& a, const SessionRecord& b);

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_JOURNAL_RANDOM_SESSIONS_H_
