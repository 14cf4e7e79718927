#include "engine/journal/redis_url.h"

#include <string>
#include <vector>

#include "engine/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvasir {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(RedisUrl, HasParts) {
  const auto whole = ParseRedisUrl("redis://ann:se%3Acr%40t@store.example:7000/12");
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->user, "ann");
  EXPECT_EQ(whole->password, "se:cr@t");
  EXPECT_EQ(whole->host, "store.example");
  EXPECT_EQ(whole->port, 7000);
  EXPECT_EQ(whole->database, 12);
  EXPECT_EQ(whole->WithoutPassword(), "redis://store.example:7000/12");
}

TEST(RedisUrl, MayLackAllButTheHost) {
  const auto bare = ParseRedisUrl("redis://127.0.0.1");
  ASSERT_TRUE(bare.ok()) << bare.status();
  EXPECT_EQ(bare->user, "");
  EXPECT_EQ(bare->password, "");
  EXPECT_EQ(bare->WithoutPassword(), "redis://127.0.0.1:6379/0");
  EXPECT_EQ(ParseRedisUrl("redis://[::1]:7000/")->WithoutPassword(), "redis://[::1]:7000/0");
  EXPECT_EQ(ParseRedisUrl("redis://:a@b@host")->password, "a@b");
}

TEST(RedisUrl, SaysWhatIsWrongAndNeverThePassword) {
  struct Case {
    std::string url, what;
  };
  const std::vector<Case> cases = {
      {"rediss://:hunter2@host", "does not begin with redis://"},
      {"redis://hunter2@host", "no ':'"},
      {"redis://:hunter2%4@host", "no two hex digits"},
      {"redis://:hunter2%zz@host", "no two hex digits"},
      {"redis://:@host", "the password is empty"},
      {"redis://:hunter2@", "no host"},
      {"redis://:hunter2@:6379/0", "no host"},
      {"redis://:hunter2@[::1/0", "no ']'"},
      {"redis://:hunter2@[::1]6379/0", "behind ']'"},
      {"redis://:hunter2@ho st/0", "a character in the host"},
      {"redis://:hunter2@host:0/0", "the port"},
      {"redis://:hunter2@host:65536/0", "the port"},
      {"redis://:hunter2@host:/0", "the port"},
      {"redis://:hunter2@host:6379/x", "the database"},
      {"redis://:hunter2@host:6379/-1", "the database"},
      {"redis://:hunter2@host:6379/0/1", "the database"},
      // A password with a '/' or ':' that nobody has encoded, and no '@' behind it.
      {"redis://host:hunter2", "the port"},
      {"redis://host/hunter2", "the database"},
  };
  for (const Case& wrong : cases) {
    const auto status = ParseRedisUrl(wrong.url).status();
    EXPECT_EQ(DetailOf(status).reason, "INVALID_FIELD") << wrong.url;
    EXPECT_THAT(std::string(status.message()), HasSubstr(wrong.what)) << wrong.url;
    EXPECT_THAT(status.ToString(), Not(HasSubstr("hunter"))) << wrong.url;
  }
}

}  // namespace
}  // namespace kvasir
