#include <memory>

#include "engine/check.h"
#include "tests/engine/journal/redis_server.h"
#include "tests/engine/journal/store_fixture.h"

namespace kvasir::testing {
namespace {

class RedisFixture : public StoreFixture {
 public:
  RedisFixture() { Reopen(); }
  SessionStore& store() override { return *store_; }
  void Reopen() override {
    store_.reset();
    auto store = OpenRedisStore(server_.url(), "127.0.0.1:50052");
    KVASIR_CHECK(store.ok());
    store_ = *std::move(store);
  }

 private:
  RedisServer server_;
  std::unique_ptr<SessionStore> store_;
};

}  // namespace

std::unique_ptr<StoreFixture> MakeRedisFixture() { return std::make_unique<RedisFixture>(); }

}  // namespace kvasir::testing
