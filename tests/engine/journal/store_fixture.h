#ifndef KVASIR_TESTS_ENGINE_JOURNAL_STORE_FIXTURE_H_
#define KVASIR_TESTS_ENGINE_JOURNAL_STORE_FIXTURE_H_

#include <memory>

#include "engine/journal/session_store.h"

namespace kvasir::testing {

// An empty store of one kind, for the tests that hold for all kinds.
class StoreFixture {
 public:
  virtual ~StoreFixture() = default;
  virtual SessionStore& store() = 0;
  // Closes the store and opens it again, as a restart of the process does.
  virtual void Reopen() = 0;
};

// Aborts where a store cannot be opened.
std::unique_ptr<StoreFixture> MakeSqliteFixture();
std::unique_ptr<StoreFixture> MakeRedisFixture();

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_JOURNAL_STORE_FIXTURE_H_
