// kvasir-model and its session stores, as an operator and clients see them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "tests/engine/journal/redis_server.h"
#include "tests/services/model_server.h"
#include "tests/services/program.h"
#include "tests/services/refusal.h"

namespace kvasir {
namespace {

using kvasir::testing::AskFor;
using kvasir::testing::CreateWith;
using kvasir::testing::ExpectRefused;
using kvasir::testing::Generate;
using kvasir::testing::Program;
using kvasir::testing::ReadAll;
using kvasir::testing::RedisServer;
using kvasir::testing::SomeIds;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> Flags(std::vector<std::string> more) {
  std::vector<std::string> flags = {"--listen=127.0.0.1:0", "--metrics=", "--kv-memory=1MiB"};
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

// All that a server with these flags says until it has stopped.
std::string LogOf(std::vector<std::string> flags) {
  Program program("kvasir-model", Flags(std::move(flags)));
  program.AwaitLine("listening on ");
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait(), 0);
  return program.standard_error();
}

TEST(Stores, TheOperatorIsToldWhatIsNotKept) {
  EXPECT_THAT(LogOf({}), HasSubstr("sessions are in memory alone and end with this process"));
  RedisServer safe;
  EXPECT_THAT(LogOf({"--session-store=" + safe.url(), "--advertise=a:1"}),
              Not(HasSubstr("warning")));
  RedisServer hasty({.arguments = {"--appendfsync", "everysec"}});
  EXPECT_THAT(LogOf({"--session-store=" + hasty.url(), "--advertise=a:1"}),
              AllOf(HasSubstr("warning"), HasSubstr("appendfsync everysec"),
                    HasSubstr("set appendonly yes and appendfsync always")));
}

class Replica {
 public:
  Replica(const RedisServer& redis, const std::string& address)
      : program_("kvasir-model",
                 Flags({"--session-store=" + redis.url(), "--advertise=" + address})),
        stub_(v1::ModelService::NewStub(grpc::CreateChannel(program_.AwaitLine("listening on "),
                                                            grpc::InsecureChannelCredentials()))) {}
  v1::ModelService::Stub& stub() { return *stub_; }

 private:
  Program program_;
  const std::unique_ptr<v1::ModelService::Stub> stub_;
};

TEST(Stores, ClientsAreToldWhoseASessionIs) {
  RedisServer redis;
  Replica first(redis, "first.example:50052"), second(redis, "second.example:50052");
  CreateWith(first.stub(), "s", SomeIds(5, 1));
  ASSERT_TRUE(Generate(first.stub(), AskFor("s", {7}, 3)).status.ok());
  ExpectRefused(Generate(second.stub(), AskFor("s", {7}, 3)).status,
                {grpc::UNAVAILABLE,
                 "NOT_OWNER",
                 {"'s'", "first.example:50052"},
                 {{"owner", "first.example:50052"}, {"session_id", "s"}}});
  EXPECT_EQ(ReadAll(second.stub(), "s"), ReadAll(first.stub(), "s"));
}

}  // namespace
}  // namespace kvasir
