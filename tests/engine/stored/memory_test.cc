// How much memory a session takes that nobody is using.
#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/engine/heap_bytes.h"
#include "tests/engine/stored/stored_engine.h"

namespace kvasir {
namespace {

using testing::HeapBytes;
using testing::StoredEngine;

constexpr int kSessions = 2000;
constexpr size_t kLength = 200;

std::string IdOf(int i) { return absl::StrCat("a-session-of-the-usual-length-", 10'000 + i); }

// Few at once: what a crowd of calls needs, queues keep.
void ForEach(StoredEngine& engine, const std::function<void(int, std::promise<void>&)>& begin) {
  constexpr int kTogether = 50;
  for (int first = 0; first < kSessions; first += kTogether) {
    std::vector<std::promise<void>> ended(kTogether);
    for (int i = 0; i < kTogether; ++i) begin(first + i, ended[i]);
    for (std::promise<void>& one : ended) one.get_future().get();
  }
  engine->Stats();
}

void ExpectLittleBesidesTokens(int64_t bytes) {
  EXPECT_LE(static_cast<double>(bytes) / kSessions - sizeof(int) * kLength, 1024);
}

TEST(Memory, AnIdleSessionTakesAKilobyteBesidesItsTokens) {
  StoredEngine engine;
  engine->Stats();
  const int64_t before = HeapBytes();
  ForEach(engine, [&](int i, std::promise<void>& ended) {
    engine->engine().CreateSession({.session_id = IdOf(i),
                                    .initial_ids = std::vector<int>(kLength, 300),
                                    .labels = {{"user", "anna"}}},
                                   [&ended](const absl::StatusOr<SessionInfo>& info) {
                                     EXPECT_TRUE(info.ok()) << info.status();
                                     ended.set_value();
                                   });
  });
  ExpectLittleBesidesTokens(HeapBytes() - before);

  engine.Restart();
  engine->Stats();
  const int64_t restarted = HeapBytes();
  ForEach(engine, [&](int i, std::promise<void>& ended) {
    // Loads it and changes nothing.
    engine->engine().TruncateSession("", IdOf(i), 0, kLength + 1,
                                     [&ended](const absl::StatusOr<SessionInfo>& info) {
                                       EXPECT_TRUE(absl::IsAborted(info.status()));
                                       ended.set_value();
                                     });
  });
  EXPECT_EQ(engine->Stats().sessions, kSessions);
  ExpectLittleBesidesTokens(HeapBytes() - restarted);
}

}  // namespace
}  // namespace kvasir
