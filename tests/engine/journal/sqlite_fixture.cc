#include <memory>
#include <string>

#include "engine/check.h"
#include "tests/engine/journal/store_fixture.h"
#include "tests/engine/temporary_directory.h"

namespace kvasir::testing {
namespace {

class SqliteFixture : public StoreFixture {
 public:
  SqliteFixture() { Reopen(); }
  SessionStore& store() override { return *store_; }
  void Reopen() override {
    store_.reset();
    auto store = OpenSqliteStore((directory_.path() / "sessions.db").string());
    KVASIR_CHECK(store.ok());
    store_ = *std::move(store);
  }

 private:
  TemporaryDirectory directory_;
  std::unique_ptr<SessionStore> store_;
};

}  // namespace

std::unique_ptr<StoreFixture> MakeSqliteFixture() { return std::make_unique<SqliteFixture>(); }

}  // namespace kvasir::testing
