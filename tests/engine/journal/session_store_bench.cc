// What a store of many sessions costs: opens it, lists, loads, appends, and prints a table.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/check.h"
#include "engine/journal/session_store.h"
#include "tests/engine/journal/random_sessions.h"
#include "tests/engine/temporary_directory.h"

namespace kvasir {
namespace {

constexpr int kSessions = 100'000;
constexpr size_t kLength = 1'000;
constexpr size_t kTurn = 100;

// The median and the largest of `times` calls.
void Row(const char* what, int times, const std::function<void()>& call) {
  std::vector<double> milliseconds;
  for (int i = 0; i < times; ++i) {
    const absl::Time start = absl::Now();
    call();
    milliseconds.push_back(absl::ToDoubleMilliseconds(absl::Now() - start));
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  absl::PrintF("%-52s %10.3f %10.3f\n", what, milliseconds[times / 2], milliseconds.back());
  std::fflush(stdout);
}

SessionWrite Creation(const std::string& id, size_t length, std::mt19937_64& random) {
  SessionWrite write;
  write.kind = SessionWrite::Kind::kCreate;
  SessionRecord& record = write.record;
  record.metadata.id = id;
  record.metadata.tenant = "tenant";
  record.metadata.create_time = record.metadata.last_use_time = absl::Now();
  record.metadata.ttl = absl::Hours(24);
  record.metadata.labels = {{"application", "bench"}, {"user", id}};
  record.metadata.sampling.seed = random();
  record.metadata.last_request_id = "01234567-89ab-cdef-0123-456789abcdef";
  record.fingerprint = std::string(64, 'f');
  record.numerics = "cpu-avx512-bf16";
  record.length = length;
  write.append = testing::RandomTokens(length, random);
  return write;
}

void Append(SessionStore& store, SessionRecord& record, Fence fence, std::mt19937_64& random) {
  SessionWrite write;
  write.record = record;
  write.record.length += kTurn;
  write.fence = fence;
  write.keep = record.length;
  write.append = testing::RandomTokens(kTurn, random);
  store.Write({&write, 1});
  KVASIR_CHECK(write.status.ok());
  record.length += kTurn;
  ++record.version;
}

// `place`: an SQLite file, or a Redis.
void Run(const std::string& place) {
  std::mt19937_64 random(1);
  const auto open = [&] {
    auto store =
        place.starts_with("redis:") ? OpenRedisStore(place, "bench:1") : OpenSqliteStore(place);
    if (!store.ok()) std::fprintf(stderr, "%s\n", store.status().ToString().c_str());
    KVASIR_CHECK(store.ok());
    return *std::move(store);
  };
  std::unique_ptr<SessionStore> store = open();
  absl::PrintF("%-52s %10s %10s\n", "milliseconds", "median", "largest");
  int made = 0;
  Row("create 1,000 sessions of 1,000 tokens, one commit", kSessions / 1000, [&] {
    std::vector<SessionWrite> writes;
    for (int i = 0; i < 1000; ++i) {
      // Like random ids: in no order.
      writes.push_back(Creation(
          absl::StrFormat("%08x-%06d", static_cast<uint32_t>(random()), made++), kLength, random));
    }
    store->Write(writes);
    for (const SessionWrite& write : writes) KVASIR_CHECK(write.status.ok());
  });
  Row("close", 1, [&] { store.reset(); });
  Row("open 100,000 sessions", 5, [&] {
    store.reset();
    store = open();
  });
  std::string after;
  Row("list a page of 1,000", 100, [&] {
    const auto page = store->List(after, "", 1000, {});
    KVASIR_CHECK(page.ok() && page->records.size() == 1000);
    after = page->next;
  });
  after.clear();
  Row("list a page for a label that none has", 15, [&] {
    const auto page = store->List(after, "", 1000, {{"user", "nobody"}});
    KVASIR_CHECK(page.ok() && page->records.empty());
    after = page->next;
  });
  Row("expire: nothing is due", 20, [&] { KVASIR_CHECK(store->Expire({})->empty()); });
  for (size_t length : {size_t{4'096}, size_t{1'000}, size_t{100'000}}) {
    SessionWrite write = Creation(absl::StrFormat("x%d", length), length, random);
    store->Write({&write, 1});
    KVASIR_CHECK(write.status.ok());
    if (length == 4'096) {
      Row("load a session of 4,096 tokens", 200,
          [&] { KVASIR_CHECK(store->Load("x4096")->tokens.size() == 4096); });
      continue;
    }
    SessionRecord record = write.record;
    record.version = 1;
    Row(absl::StrFormat("append 100 tokens at length %d", length).c_str(), 100,
        [&] { Append(*store, record, write.new_fence, random); });
  }
}

}  // namespace
}  // namespace kvasir

// session_store_bench [FILE | redis://HOST:PORT/DB]: FILE, new, lies on the disk to be measured,
// the Redis is empty; else a temporary file.
int main(int argc, char** argv) {
  const bool help = argc == 2 && std::string(argv[1]) == "--help";
  if (help || argc > 2) {
    std::fprintf(help ? stdout : stderr,
                 "usage: session_store_bench [FILE | redis://HOST:PORT/DB]\n");
    return help ? 0 : 2;
  }
  const kvasir::testing::TemporaryDirectory directory;
  kvasir::Run(argc > 1 ? argv[1] : (directory.path() / "sessions.db").string());
  return 0;
}
