// Sessions as a resource, through real gRPC.
#include <gmock/gmock.h>
#include <google/protobuf/util/time_util.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "tests/services/model_server.h"

namespace kvasir {
namespace {

using ::google::protobuf::util::TimeUtil;
using kvasir::testing::AskFor;
using kvasir::testing::Create;
using kvasir::testing::CreateWith;
using kvasir::testing::Delete;
using kvasir::testing::Fork;
using kvasir::testing::Generate;
using kvasir::testing::Generation;
using kvasir::testing::Get;
using kvasir::testing::Ids;
using kvasir::testing::List;
using kvasir::testing::ModelServer;
using kvasir::testing::Read;
using kvasir::testing::ReadAll;
using kvasir::testing::SomeIds;
using kvasir::testing::Truncate;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::SizeIs;

class SessionsRpcTest : public ::testing::Test {
 protected:
  v1::Session GetIt(const std::string& id) {
    v1::Session session;
    const grpc::Status status = Get(stub(), id, session);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return session;
  }
  std::vector<std::string> Listed(const v1::ListSessionsRequest& request,
                                  std::string* next_page_token = nullptr) {
    v1::ListSessionsResponse page;
    const grpc::Status status = List(stub(), request, page);
    EXPECT_TRUE(status.ok()) << status.error_message();
    std::vector<std::string> ids;
    for (const v1::Session& session : page.sessions()) ids.push_back(session.session_id());
    if (next_page_token != nullptr) *next_page_token = page.next_page_token();
    return ids;
  }
  v1::ModelService::Stub& stub() { return server_.stub(); }

  ModelServer server_;
};

TEST_F(SessionsRpcTest, CreatedAsAsked) {
  v1::CreateSessionRequest request;
  request.set_session_id("A.b_c-1");
  for (uint32_t id : SomeIds(7, 1)) request.add_initial_ids(id);
  request.mutable_ttl()->set_seconds(3600);
  request.mutable_ttl()->set_nanos(500'000'000);
  (*request.mutable_labels())["user"] = "anna";
  (*request.mutable_labels())["app"] = "chat";
  v1::SamplingParameters& sampling = *request.mutable_sampling();
  sampling.set_temperature(0.5f);
  sampling.set_top_k(7);
  sampling.set_top_p(0.75f);
  sampling.set_min_p(0.25f);
  sampling.set_seed(0xFFFFFFFFFFFFFFFFu);
  sampling.set_repetition_penalty(1.5f);
  sampling.set_frequency_penalty(-2.0f);
  sampling.set_presence_penalty(2.0f);
  (*sampling.mutable_logit_bias())[3] = -1.0f;

  v1::Session created;
  const absl::Time before = absl::Now();
  ASSERT_TRUE(Create(stub(), request, &created).ok());
  const v1::Session session = GetIt("A.b_c-1");
  EXPECT_EQ(session.SerializeAsString().size(), created.SerializeAsString().size());
  EXPECT_EQ(session.session_id(), "A.b_c-1");
  EXPECT_EQ(session.length(), 7);
  EXPECT_EQ(session.cached_tokens(), 0);
  EXPECT_FALSE(session.busy());
  const absl::Time create_time =
      absl::FromUnixNanos(TimeUtil::TimestampToNanoseconds(session.create_time()));
  EXPECT_GE(create_time, before - absl::Microseconds(1));
  EXPECT_LE(create_time, absl::Now());
  EXPECT_EQ(session.expire_time() - session.last_use_time(), request.ttl());
  EXPECT_EQ(session.parent_session_id(), "");
  EXPECT_THAT(session.labels(), SizeIs(2));
  EXPECT_EQ(session.labels().at("user"), "anna");
  const v1::SamplingParameters& kept = session.sampling();
  EXPECT_EQ(kept.temperature(), 0.5f);
  EXPECT_EQ(kept.top_k(), 7);
  EXPECT_EQ(kept.top_p(), 0.75f);
  EXPECT_EQ(kept.min_p(), 0.25f);
  EXPECT_EQ(kept.seed(), 0xFFFFFFFFFFFFFFFFu);
  EXPECT_EQ(kept.repetition_penalty(), 1.5f);
  EXPECT_EQ(kept.frequency_penalty(), -2.0f);
  EXPECT_EQ(kept.presence_penalty(), 2.0f);
  EXPECT_EQ(kept.logit_bias().at(3), -1.0f);
  EXPECT_EQ(session.last_finish_reason(), v1::FINISH_REASON_UNSPECIFIED);
  EXPECT_EQ(ReadAll(stub(), "A.b_c-1"), SomeIds(7, 1));
}

TEST_F(SessionsRpcTest, ServerChoosesIdsAndSeeds) {
  v1::Session first, second;
  ASSERT_TRUE(Create(stub(), {}, &first).ok());
  ASSERT_TRUE(Create(stub(), {}, &second).ok());
  EXPECT_THAT(first.session_id(), MatchesRegex("[0-9a-f]{32}"));
  EXPECT_NE(first.session_id(), second.session_id());
  EXPECT_TRUE(first.sampling().has_seed());
  EXPECT_NE(first.sampling().seed(), second.sampling().seed());
  EXPECT_FALSE(first.sampling().has_temperature());
  EXPECT_FALSE(first.has_expire_time());
}

TEST_F(SessionsRpcTest, IdleSessionsExpire) {
  v1::CreateSessionRequest request;
  request.set_session_id("short");
  request.mutable_ttl()->set_nanos(50'000'000);
  ASSERT_TRUE(Create(stub(), request).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  v1::Session session;
  EXPECT_EQ(Get(stub(), "short", session).error_code(), grpc::NOT_FOUND);
}

TEST_F(SessionsRpcTest, AnExpiryBeyondTheCalendarIsItsEnd) {
  v1::CreateSessionRequest request;
  request.mutable_ttl()->set_seconds(315'576'000'000);
  v1::Session session;
  ASSERT_TRUE(Create(stub(), request, &session).ok());
  EXPECT_EQ(TimeUtil::ToString(session.expire_time()), "9999-12-31T23:59:59Z");
}

TEST_F(SessionsRpcTest, ListsInPagesInOrder) {
  for (const char* id : {"d", "b", "e", "a", "c"}) CreateWith(stub(), id, {1});
  v1::ListSessionsRequest request;
  EXPECT_THAT(Listed(request), ElementsAre("a", "b", "c", "d", "e"));
  request.set_page_size(2);
  std::string next;
  EXPECT_THAT(Listed(request, &next), ElementsAre("a", "b"));
  request.set_page_token(next);
  EXPECT_THAT(Listed(request, &next), ElementsAre("c", "d"));
  EXPECT_TRUE(Delete(stub(), "d").ok());  // the page goes on behind it all the same
  request.set_page_token(next);
  EXPECT_THAT(Listed(request, &next), ElementsAre("e"));
  EXPECT_EQ(next, "");
}

TEST_F(SessionsRpcTest, ListsByLabels) {
  const auto create = [this](const std::string& id, std::map<std::string, std::string> labels) {
    v1::CreateSessionRequest request;
    request.set_session_id(id);
    request.mutable_labels()->insert(labels.begin(), labels.end());
    ASSERT_TRUE(Create(stub(), request).ok());
  };
  create("a", {{"user", "anna"}, {"app", "chat"}});
  create("b", {{"user", "tom"}, {"app", "chat"}});
  create("c", {{"user", "anna"}});
  v1::ListSessionsRequest request;
  (*request.mutable_labels())["user"] = "anna";
  EXPECT_THAT(Listed(request), ElementsAre("a", "c"));
  (*request.mutable_labels())["app"] = "chat";
  EXPECT_THAT(Listed(request), ElementsAre("a"));
  (*request.mutable_labels())["app"] = "other";
  EXPECT_THAT(Listed(request), IsEmpty());
}

// Clients and servers refuse messages over 16 MiB.
TEST_F(SessionsRpcTest, TheLargestPageOfTheLargestSessionsIsAMessage) {
  v1::CreateSessionRequest request;
  request.set_session_id(std::string(128, 'p'));
  request.mutable_ttl()->set_seconds(1'000'000);
  for (int i = 0; i < 64; ++i) {
    (*request.mutable_labels())["key" + std::to_string(10 + i)] = std::string(59, 'v');
  }
  v1::SamplingParameters& sampling = *request.mutable_sampling();
  sampling.set_temperature(0.5f);
  sampling.set_top_k(0xFFFFFFFFu);
  sampling.set_top_p(0.75f);
  sampling.set_min_p(0.25f);
  sampling.set_seed(0xFFFFFFFFFFFFFFFFu);
  sampling.set_repetition_penalty(1.5f);
  sampling.set_frequency_penalty(-2.0f);
  sampling.set_presence_penalty(2.0f);
  for (int id = 200; id < 1200; ++id) (*sampling.mutable_logit_bias())[id] = 0.5f;
  const grpc::Status created = Create(stub(), request);
  ASSERT_TRUE(created.ok()) << created.error_message();
  v1::ForkSessionRequest fork;
  fork.set_session_id(request.session_id());
  fork.set_new_session_id(std::string(128, 'f'));
  ASSERT_TRUE(Fork(stub(), fork).ok());
  v1::GenerateRequest turn = AskFor(fork.new_session_id(), {7}, 1);
  turn.set_request_id(std::string(128, 'r'));
  ASSERT_TRUE(Generate(stub(), turn).status.ok());

  v1::ListSessionsResponse page;
  *page.add_sessions() = GetIt(fork.new_session_id());
  EXPECT_EQ(page.sessions(0).labels_size(), 64);
  // Numbers may be longer: an id of a bias by a byte, lengths by three each.
  const size_t longer = 1000 + 3 * 3;
  EXPECT_LE(1000 * (page.ByteSizeLong() + longer) + 200, 16u << 20);
}

TEST_F(SessionsRpcTest, ForkSharesThePast) {
  CreateWith(stub(), "source", SomeIds(50, 1));
  const Generation turn = Generate(stub(), AskFor("source", {}, 10));
  ASSERT_TRUE(turn.status.ok());
  v1::ForkSessionRequest request;
  request.set_session_id("source");
  request.set_new_session_id("fork");
  request.set_length(40);
  v1::Session fork;
  ASSERT_TRUE(Fork(stub(), request, &fork).ok());
  EXPECT_EQ(fork.session_id(), "fork");
  EXPECT_EQ(fork.parent_session_id(), "source");
  EXPECT_EQ(fork.length(), 40);
  EXPECT_EQ(fork.cached_tokens(), 40);
  EXPECT_EQ(fork.sampling().seed(), GetIt("source").sampling().seed());
  Ids past = SomeIds(50, 1);
  past.resize(40);
  EXPECT_EQ(ReadAll(stub(), "fork"), past);

  request.clear_length();
  request.clear_new_session_id();
  ASSERT_TRUE(Fork(stub(), request, &fork).ok());
  EXPECT_EQ(fork.length(), 60);
  EXPECT_THAT(fork.session_id(), MatchesRegex("[0-9a-f]{32}"));
  EXPECT_EQ(ReadAll(stub(), fork.session_id()), ReadAll(stub(), "source"));
}

TEST_F(SessionsRpcTest, ForkOfABusySessionHasItsCommittedTokens) {
  CreateWith(stub(), "source", SomeIds(5, 1));
  grpc::ClientContext context;
  v1::GenerateRequest endless = AskFor("source", {7}, 1);
  endless.clear_max_new_tokens();
  const auto reader = stub().Generate(&context, endless);
  v1::GenerateResponse response;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(reader->Read(&response));
  EXPECT_TRUE(GetIt("source").busy());
  v1::ForkSessionRequest request;
  request.set_session_id("source");
  v1::Session fork;
  ASSERT_TRUE(Fork(stub(), request, &fork).ok());
  EXPECT_FALSE(fork.busy());
  EXPECT_GT(fork.length(), 6);
  context.TryCancel();
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  const Ids source = ReadAll(stub(), "source"), copy = ReadAll(stub(), fork.session_id());
  ASSERT_GE(source.size(), copy.size());
  EXPECT_EQ(copy, Ids(source.begin(), source.begin() + copy.size()));
}

TEST_F(SessionsRpcTest, TruncateCutsBack) {
  CreateWith(stub(), "s", SomeIds(50, 1));
  ASSERT_TRUE(Generate(stub(), AskFor("s", {}, 0)).status.ok());
  v1::TruncateSessionRequest request;
  request.set_session_id("s");
  request.set_length(33);
  request.set_expected_length(50);
  v1::Session session;
  ASSERT_TRUE(Truncate(stub(), request, &session).ok());
  EXPECT_EQ(session.length(), 33);
  EXPECT_LE(session.cached_tokens(), 33);
  request.clear_expected_length();
  request.set_length(0);
  ASSERT_TRUE(Truncate(stub(), request, &session).ok());
  EXPECT_EQ(session.length(), 0);
  EXPECT_THAT(ReadAll(stub(), "s"), IsEmpty());
}

TEST_F(SessionsRpcTest, DeleteCancelsTheRunningCall) {
  CreateWith(stub(), "s", SomeIds(5, 1));
  grpc::ClientContext context;
  v1::GenerateRequest endless = AskFor("s", {7}, 1);
  endless.clear_max_new_tokens();
  const auto reader = stub().Generate(&context, endless);
  v1::GenerateResponse response;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(reader->Read(&response));
  EXPECT_TRUE(Delete(stub(), "s").ok());
  while (reader->Read(&response)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::CANCELLED);
  EXPECT_THAT(status.error_message(), ::testing::HasSubstr("deleted"));
  v1::Session session;
  EXPECT_EQ(Get(stub(), "s", session).error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(server_.SettledStats().kv_blocks_used, 0);
}

TEST_F(SessionsRpcTest, ReadComesInChunksFromAnOffset) {
  const Ids all = SomeIds(20'000, 1);
  CreateWith(stub(), "s", all);
  Ids ids;
  int chunks = 0;
  ASSERT_TRUE(Read(stub(), "s", 0, ids, &chunks).ok());
  EXPECT_EQ(ids, all);
  EXPECT_EQ(chunks, 3);  // of 8,192
  ASSERT_TRUE(Read(stub(), "s", 19'990, ids, &chunks).ok());
  EXPECT_EQ(ids, Ids(all.begin() + 19'990, all.end()));
  EXPECT_EQ(chunks, 1);
}

}  // namespace
}  // namespace kvasir
