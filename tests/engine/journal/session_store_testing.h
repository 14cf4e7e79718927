#ifndef KVASIR_TESTS_ENGINE_JOURNAL_SESSION_STORE_TESTING_H_
#define KVASIR_TESTS_ENGINE_JOURNAL_SESSION_STORE_TESTING_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/journal/session_store.h"
#include "tests/engine/journal/store_fixture.h"

namespace kvasir::testing {

inline SessionRecord Record(const std::string& id) {
  SessionRecord record;
  record.metadata.id = id;
  record.metadata.create_time = absl::FromUnixSeconds(1000);
  record.metadata.last_use_time = absl::FromUnixSeconds(1000);
  return record;
}

// One store after the other, empty at first, and what most of its tests write.
class SessionStoreTest : public ::testing::TestWithParam<std::unique_ptr<StoreFixture> (*)()> {
 protected:
  SessionStore& store() { return fixture_->store(); }
  StoreFixture& fixture() { return *fixture_; }

  static SessionWrite Creation(SessionRecord record, std::vector<int> tokens = {}) {
    SessionWrite write;
    write.kind = SessionWrite::Kind::kCreate;
    write.record = std::move(record);
    write.record.length = tokens.size();
    write.record.version = 0;
    write.append = std::move(tokens);
    return write;
  }
  SessionWrite Write(SessionWrite write) {
    store().Write({&write, 1});
    return write;
  }
  Fence Create(const std::string& id, std::vector<int> tokens = {}) {
    const SessionWrite write = Write(Creation(Record(id), std::move(tokens)));
    EXPECT_TRUE(write.status.ok()) << write.status;
    return write.new_fence;
  }
  // Of the version that is stored.
  SessionWrite Change(SessionWrite::Kind kind, const std::string& id, Fence fence,
                      uint64_t keep = 0, std::vector<int> append = {}) {
    const auto stored = store().Load(id);
    EXPECT_TRUE(stored.ok()) << stored.status();
    SessionWrite write;
    write.kind = kind;
    write.record = stored->record;
    write.record.length = keep + append.size();
    write.fence = fence;
    write.keep = keep;
    write.append = std::move(append);
    return write;
  }
  std::vector<int> TokensOf(const std::string& id) {
    const auto stored = store().Load(id);
    EXPECT_TRUE(stored.ok()) << stored.status();
    return stored->tokens;
  }

 private:
  std::unique_ptr<StoreFixture> fixture_ = GetParam()();
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_JOURNAL_SESSION_STORE_TESTING_H_
