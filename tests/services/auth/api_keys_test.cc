#include "services/auth/api_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace kvasir {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Optional;

constexpr char kKey[] = "an-open-secret-of-anna";

ApiKeys Parsed(const std::string& text) {
  absl::StatusOr<ApiKeys> keys = ApiKeys::Parse(text);
  EXPECT_TRUE(keys.ok()) << keys.status();
  return keys.ok() ? *std::move(keys) : ApiKeys();
}

TEST(ApiKeys, TellWhoseTheyAre) {
  const ApiKeys keys = Parsed(
      "# who may call\n"
      "\n"
      "anna an-open-secret-of-anna\r\n"
      "  anna\tanother-secret-of-hers  \n"
      "team.b_2-x 0123456789abcdef");
  EXPECT_EQ(keys.size(), 3);
  EXPECT_THAT(keys.TenantOf(kKey), Optional(std::string("anna")));
  EXPECT_THAT(keys.TenantOf("another-secret-of-hers"), Optional(std::string("anna")));
  EXPECT_THAT(keys.TenantOf("0123456789abcdef"), Optional(std::string("team.b_2-x")));
}

TEST(ApiKeys, NothingButTheWholeKeyOpens) {
  const ApiKeys keys = Parsed("anna an-open-secret-of-anna\n");
  for (const std::string& key :
       {std::string(), std::string("an-open-secret-of-ann"), std::string("an-open-secret-of-annaa"),
        std::string("anna"), std::string("An-open-secret-of-anna"),
        std::string("an-open-secret-of-anna "), std::string("an-open-secret-of-anna\0", 23),
        std::string(100'000, 'a')}) {
    EXPECT_EQ(keys.TenantOf(key), std::nullopt) << key.substr(0, 40);
  }
}

// Of FIPS 180-4: the SHA-256 of "abc".
TEST(ApiKeys, MayBeGivenAsDigests) {
  const ApiKeys keys =
      Parsed("anna sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015AD\n");
  EXPECT_THAT(keys.TenantOf("abc"), Optional(std::string("anna")));
  // Whoever has read the file has no key.
  EXPECT_EQ(
      keys.TenantOf("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015AD"),
      std::nullopt);
}

TEST(ApiKeys, WhatIsWrongIsToldByLineAndNeverShown) {
  const std::string ok = "anna an-open-secret-of-anna\n";
  const std::pair<std::string, std::string> cases[] = {
      {"", "no key"},
      {"# anna an-open-secret-of-anna\n", "no key"},
      {ok + "bob\n", "line 2: not of the form TENANT KEY"},
      {ok + "bob secret-secret-1234 more\n", "line 2: not of the form TENANT KEY"},
      {ok + "\n\nb/b secret-secret-1234\n", "line 4: the tenant's name"},
      {ok + std::string(65, 'b') + " secret-secret-1234\n", "line 2: the tenant's name"},
      {ok + "bob secret-123\n", "line 2: a key of 10 characters, where 16 to 512"},
      {ok + "bob " + std::string(513, 's') + "\n", "line 2: a key of 513 characters"},
      {ok + "bob secret-secret-\xC3\xA4\xC3\xA4\n", "line 2: a key with characters beyond"},
      {ok + "bob an-open-secret-of-anna\n", "line 2: the key is there twice"},
      {ok + "bob sha256:12secret\n", "line 2: sha256:"},
      {ok + "bob sha256:" + std::string(64, 'g') + "\n", "line 2: sha256:"},
  };
  for (const auto& [text, why] : cases) {
    const absl::Status status = ApiKeys::Parse(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(why), Not(HasSubstr("secret"))));
  }
}

}  // namespace
}  // namespace kvasir
