#include "services/auth/authenticator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/engine/temporary_directory.h"

namespace kvasir {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class AuthenticatorTest : public ::testing::Test {
 protected:
  // In the place of what was there, in one step, as an orchestrator does it.
  void Replace(const std::string& content) {
    const std::filesystem::path next = folder_.path() / "next";
    std::ofstream(next) << content;
    std::filesystem::rename(next, path());
  }
  std::string path() const { return (folder_.path() / "keys").string(); }
  absl::StatusOr<std::unique_ptr<Authenticator>> Open() {
    return Authenticator::Open(
        {.api_keys = path(), .tell = [this](bool ok, const std::string& line) {
           told_.push_back((ok ? "ok: " : "bad: ") + line);
         }});
  }
  // What it says of the one header `value`, "tenant" or why not.
  static std::string Answer(const Authenticator& authenticator, std::string_view value) {
    const std::string_view headers[] = {value};
    return Said(authenticator.TenantOf(headers));
  }
  static std::string Said(const absl::StatusOr<std::string>& tenant) {
    if (tenant.ok()) return *tenant;
    EXPECT_EQ(tenant.status().code(), absl::StatusCode::kUnauthenticated);
    return std::string(tenant.status().message());
  }
  // Asks until the answer is `wanted`: a change is looked for once a second.
  static void AwaitAnswer(const Authenticator& authenticator, std::string_view header,
                          const std::string& wanted) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (Answer(authenticator, header) != wanted) {
      ASSERT_LT(std::chrono::steady_clock::now(), give_up);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  testing::TemporaryDirectory folder_;
  std::vector<std::string> told_;
};

TEST_F(AuthenticatorTest, TakesOneBearer) {
  Replace("anna secret-of-anna-1\n");
  const auto opened = Open();
  ASSERT_TRUE(opened.ok()) << opened.status();
  const Authenticator& authenticator = **opened;
  EXPECT_EQ(Answer(authenticator, "Bearer secret-of-anna-1"), "anna");
  EXPECT_EQ(Answer(authenticator, "bearer secret-of-anna-1"), "anna");

  EXPECT_THAT(Said(authenticator.TenantOf({})), HasSubstr("missing"));
  const std::string_view twice[] = {"Bearer secret-of-anna-1", "Bearer secret-of-anna-1"};
  EXPECT_THAT(Said(authenticator.TenantOf(twice)), HasSubstr("more than once"));
  for (const char* header :
       {"", "Bearer", "secret-of-anna-1", "Basic secret-of-anna-1", "Bearersecret-of-anna-1"}) {
    EXPECT_THAT(Answer(authenticator, header),
                AllOf(HasSubstr("not of the form"), Not(HasSubstr("secret"))));
  }
  for (const char* header : {"Bearer ", "Bearer  secret-of-anna-1", "Bearer secret-of-anna-2"}) {
    EXPECT_THAT(Answer(authenticator, header),
                AllOf(HasSubstr("not known"), Not(HasSubstr("secret"))));
  }
}

TEST_F(AuthenticatorTest, FollowsTheFile) {
  Replace("anna secret-of-anna-1\n");
  const auto opened = Open();
  ASSERT_TRUE(opened.ok()) << opened.status();
  const Authenticator& authenticator = **opened;
  EXPECT_EQ(Answer(authenticator, "Bearer secret-of-anna-1"), "anna");

  Replace("anna secret-of-anna-2\n");
  AwaitAnswer(authenticator, "Bearer secret-of-anna-2", "anna");
  EXPECT_THAT(Answer(authenticator, "Bearer secret-of-anna-1"), HasSubstr("not known"));
  EXPECT_THAT(told_, ElementsAre(StartsWith("ok: " + path())));

  // A file that is no good, or gone, locks nobody out and lets nobody in.
  told_.clear();
  Replace("anna secret-3\n");
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (told_.empty()) {
    EXPECT_EQ(Answer(authenticator, "Bearer secret-of-anna-2"), "anna");
    ASSERT_LT(std::chrono::steady_clock::now(), give_up);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_THAT(told_, ElementsAre(AllOf(StartsWith("bad: " + path()), HasSubstr("line 1"),
                                       HasSubstr("stands"), Not(HasSubstr("secret")))));
  std::filesystem::remove(path());
  while (told_.size() < 2) {
    EXPECT_EQ(Answer(authenticator, "Bearer secret-of-anna-2"), "anna");
    ASSERT_LT(std::chrono::steady_clock::now(), give_up);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  Replace("bob secret-of-anna-2\n");
  AwaitAnswer(authenticator, "Bearer secret-of-anna-2", "bob");
}

TEST_F(AuthenticatorTest, AFileThatIsNoGoodIsNamed) {
  EXPECT_THAT(std::string(Open().status().message()),
              AllOf(HasSubstr("--api-keys"), HasSubstr(path()), HasSubstr("cannot be read")));
  Replace("anna secret\n");
  EXPECT_THAT(std::string(Open().status().message()),
              AllOf(HasSubstr("--api-keys"), HasSubstr(path()), HasSubstr("line 1"),
                    Not(HasSubstr("secret"))));
}

}  // namespace
}  // namespace kvasir
