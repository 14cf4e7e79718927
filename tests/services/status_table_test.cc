// Every row of the API's status table, through real gRPC: code, message, reason, metadata.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "tests/services/model_server.h"
#include "tests/services/refusal.h"

namespace kvasir {
namespace {

using kvasir::testing::AskFor;
using kvasir::testing::Create;
using kvasir::testing::CreateWith;
using kvasir::testing::Delete;
using kvasir::testing::ExpectInvalid;
using kvasir::testing::ExpectRefused;
using kvasir::testing::Fork;
using kvasir::testing::Generate;
using kvasir::testing::Get;
using kvasir::testing::Ids;
using kvasir::testing::List;
using kvasir::testing::ModelServer;
using kvasir::testing::Read;
using kvasir::testing::ReadAll;
using kvasir::testing::SomeIds;
using kvasir::testing::TinyOptions;
using kvasir::testing::TinyVariant;
using kvasir::testing::Truncate;
using ::testing::Gt;
using ::testing::IsEmpty;
using ::testing::Optional;

constexpr uint32_t kVocab = 1536;

// A Generate call that goes on for as long as the test wants; its tokens are read as they come.
class LongCall {
 public:
  LongCall(v1::ModelService::Stub& stub, const std::string& session_id) {
    v1::GenerateRequest request = AskFor(session_id, {1, 2, 3}, 1'000'000);
    request.clear_max_new_tokens();
    reader_ = stub.Generate(&context_, request);
  }
  // Waits for its first token.
  void AwaitToken() {
    v1::GenerateResponse response;
    do {
      ASSERT_TRUE(reader_->Read(&response));
    } while (!response.has_chunk());
  }
  void Cancel() { context_.TryCancel(); }
  grpc::Status Finish() {
    v1::GenerateResponse response;
    while (reader_->Read(&response)) {
    }
    return reader_->Finish();
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
};

class StatusTableTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { server_ = new ModelServer; }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }
  static v1::ModelService::Stub& stub() { return server_->stub(); }

  static ModelServer* server_;
};

ModelServer* StatusTableTest::server_ = nullptr;

TEST_F(StatusTableTest, UnknownSession) {
  const kvasir::testing::Refusal not_found = {
      grpc::NOT_FOUND, "SESSION_NOT_FOUND", {"nobody"}, {{"session_id", "nobody"}}};
  v1::Session session;
  Ids ids;
  ExpectRefused(Generate(stub(), AskFor("nobody", {1}, 1)).status, not_found);
  ExpectRefused(Get(stub(), "nobody", session), not_found);
  ExpectRefused(Delete(stub(), "nobody"), not_found);
  ExpectRefused(Read(stub(), "nobody", 0, ids), not_found);
  v1::ForkSessionRequest fork;
  fork.set_session_id("nobody");
  ExpectRefused(Fork(stub(), fork), not_found);
  v1::TruncateSessionRequest truncate;
  truncate.set_session_id("nobody");
  truncate.set_length(0);
  ExpectRefused(Truncate(stub(), truncate), not_found);
}

TEST_F(StatusTableTest, NothingToContinueFrom) {
  ExpectInvalid(Generate(stub(), AskFor("", {}, 1)).status, "input_ids", {"empty"});
  CreateWith(stub(), "empty", {});
  ExpectInvalid(Generate(stub(), AskFor("empty", {}, 1)).status, "input_ids", {"empty"});
  EXPECT_TRUE(Delete(stub(), "empty").ok());
}

TEST_F(StatusTableTest, IdsBeyondTheVocabulary) {
  for (uint32_t id : {kVocab, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFFFu}) {
    const std::string value = std::to_string(id);
    ExpectInvalid(Generate(stub(), AskFor("", {1, id}, 1)).status, "input_ids",
                  {"[1]", value, "1536"});
    v1::GenerateRequest request = AskFor("", {1}, 1);
    request.add_stop_token_ids(id);
    ExpectInvalid(Generate(stub(), request).status, "stop_token_ids", {"[0]", value, "1536"});
    request.clear_stop_token_ids();
    (*request.mutable_sampling()->mutable_logit_bias())[id] = 1;
    ExpectInvalid(Generate(stub(), request).status, "sampling.logit_bias", {value, "1536"});
    v1::CreateSessionRequest create;
    create.add_initial_ids(id);
    ExpectInvalid(Create(stub(), create), "initial_ids", {"[0]", value, "1536"});
  }
}

struct BadNumber {
  const char* field;
  std::function<void(v1::SamplingParameters&, float)> set;
  std::vector<float> values;  // besides those that are not finite
};

TEST_F(StatusTableTest, SamplingParametersOutOfRangeOrNotFinite) {
  using P = v1::SamplingParameters;
  const BadNumber fields[] = {
      {"temperature", &P::set_temperature, {-0.1f, 100.1f}},
      {"top_p", &P::set_top_p, {0.0f, -1.0f, 1.1f}},
      {"min_p", &P::set_min_p, {-0.1f, 1.1f}},
      {"repetition_penalty", &P::set_repetition_penalty, {0.0f, -1.0f, 101.0f}},
      {"frequency_penalty", &P::set_frequency_penalty, {-101.0f, 101.0f}},
      {"presence_penalty", &P::set_presence_penalty, {-101.0f, 101.0f}},
      {"logit_bias", [](P& p, float v) { (*p.mutable_logit_bias())[7] = v; }, {-101.0f, 101.0f}},
  };
  for (const BadNumber& field : fields) {
    std::vector<float> values = field.values;
    values.insert(values.end(), {std::nanf(""), std::numeric_limits<float>::infinity(),
                                 -std::numeric_limits<float>::infinity()});
    for (float value : values) {
      SCOPED_TRACE(std::string(field.field) + " " + std::to_string(value));
      v1::GenerateRequest request = AskFor("", {1}, 1);
      field.set(*request.mutable_sampling(), value);
      const std::string name = std::string("sampling.") + field.field;
      ExpectInvalid(Generate(stub(), request).status, name, {"to 1"});
      v1::CreateSessionRequest create;
      field.set(*create.mutable_sampling(), value);
      ExpectInvalid(Create(stub(), create), name, {"to 1"});
    }
  }
}

TEST_F(StatusTableTest, OtherFieldsOutOfRange) {
  v1::GenerateRequest request = AskFor("", {1}, 1);
  request.set_top_logprobs(21);
  ExpectInvalid(Generate(stub(), request).status, "top_logprobs", {"21", "20"});
  request = AskFor("", {1}, 1);
  request.set_request_id(std::string(129, 'r'));
  ExpectInvalid(Generate(stub(), request).status, "request_id", {"129", "128"});

  v1::ListSessionsRequest list;
  v1::ListSessionsResponse page;
  list.set_page_size(1001);
  ExpectInvalid(List(stub(), list, page), "page_size", {"1001", "1000"});
  list.set_page_size(1);
  list.set_page_token("no session's id!");
  ExpectInvalid(List(stub(), list, page), "page_token", {});

  v1::CreateSessionRequest create;
  create.mutable_ttl()->set_seconds(-1);
  ExpectInvalid(Create(stub(), create), "ttl", {"-1", "0"});
  create.mutable_ttl()->set_seconds(0);
  ExpectInvalid(Create(stub(), create), "ttl", {"0"});
  create.mutable_ttl()->set_seconds(315'576'000'001);
  ExpectInvalid(Create(stub(), create), "ttl", {"315576000001", "315576000000"});
  create.mutable_ttl()->set_seconds(1);
  create.mutable_ttl()->set_nanos(-1);
  ExpectInvalid(Create(stub(), create), "ttl", {"-1 nanos"});
  create.clear_ttl();
  for (int i = 0; i < 65; ++i) (*create.mutable_labels())[std::to_string(i)] = "";
  ExpectInvalid(Create(stub(), create), "labels", {"65 entries", "64"});
  create.mutable_labels()->clear();
  (*create.mutable_labels())["key"] = std::string(4094, 'v');
  ExpectInvalid(Create(stub(), create), "labels", {"4097 bytes", "4096"});
  create.mutable_labels()->clear();
  for (int id = 0; id < 1001; ++id) (*create.mutable_sampling()->mutable_logit_bias())[id] = 1;
  ExpectInvalid(Create(stub(), create), "sampling.logit_bias", {"1001 entries", "1000"});

  v1::TruncateSessionRequest truncate;
  truncate.set_session_id("any");
  ExpectInvalid(Truncate(stub(), truncate), "length", {"required"});
}

TEST_F(StatusTableTest, BadSessionIds) {
  for (const std::string& id :
       {std::string(129, 'a'), std::string("a b"), std::string("a/b"), std::string("\xC3\xA9"),
        std::string("a\n"), std::string("a\0b", 3)}) {
    v1::Session session;
    Ids ids;
    ExpectInvalid(Generate(stub(), AskFor(id, {1}, 1)).status, "session_id", {"{1,128}"});
    ExpectInvalid(Get(stub(), id, session), "session_id", {"{1,128}"});
    ExpectInvalid(Delete(stub(), id), "session_id", {"{1,128}"});
    ExpectInvalid(Read(stub(), id, 0, ids), "session_id", {"{1,128}"});
    v1::CreateSessionRequest create;
    create.set_session_id(id);
    ExpectInvalid(Create(stub(), create), "session_id", {"{1,128}"});
    v1::TruncateSessionRequest truncate;
    truncate.set_session_id(id);
    truncate.set_length(0);
    ExpectInvalid(Truncate(stub(), truncate), "session_id", {"{1,128}"});
    CreateWith(stub(), "source", {1});
    v1::ForkSessionRequest fork;
    fork.set_session_id("source");
    fork.set_new_session_id(id);
    ExpectInvalid(Fork(stub(), fork), "new_session_id", {"{1,128}"});
    fork.set_session_id(id);
    ExpectInvalid(Fork(stub(), fork), "session_id", {"{1,128}"});
    EXPECT_TRUE(Delete(stub(), "source").ok());
  }
  // Where a session is needed, none is a bad id too.
  v1::Session session;
  ExpectInvalid(Get(stub(), "", session), "session_id", {"0 bytes"});
}

TEST_F(StatusTableTest, LengthMismatch) {
  CreateWith(stub(), "five", SomeIds(5, 1));
  const kvasir::testing::Refusal mismatch = {
      grpc::ABORTED, "LENGTH_MISMATCH", {"expected_length", "4", "5"}, {{"session_length", "5"}}};
  v1::GenerateRequest request = AskFor("five", {1}, 1);
  request.set_expected_length(4);
  ExpectRefused(Generate(stub(), request).status, mismatch);
  v1::TruncateSessionRequest truncate;
  truncate.set_session_id("five");
  truncate.set_length(1);
  truncate.set_expected_length(4);
  ExpectRefused(Truncate(stub(), truncate), mismatch);
  EXPECT_EQ(ReadAll(stub(), "five"), SomeIds(5, 1));
  // A session that is not there has no tokens.
  request = AskFor("new", {1}, 1);
  request.set_create_if_missing(true);
  request.set_expected_length(4);
  ExpectRefused(Generate(stub(), request).status,
                {grpc::ABORTED, "LENGTH_MISMATCH", {"4", "0"}, {{"session_length", "0"}}});
  EXPECT_TRUE(Delete(stub(), "five").ok());
}

TEST_F(StatusTableTest, BusySession) {
  CreateWith(stub(), "busy", {1});
  LongCall call(stub(), "busy");
  call.AwaitToken();
  const kvasir::testing::Refusal busy = {
      grpc::ABORTED, "SESSION_BUSY", {"busy"}, {{"session_id", "busy"}}};
  ExpectRefused(Generate(stub(), AskFor("busy", {1}, 1)).status, busy);
  v1::TruncateSessionRequest truncate;
  truncate.set_session_id("busy");
  truncate.set_length(0);
  ExpectRefused(Truncate(stub(), truncate), busy);
  call.Cancel();
  EXPECT_EQ(call.Finish().error_code(), grpc::CANCELLED);
  EXPECT_TRUE(Delete(stub(), "busy").ok());
}

TEST_F(StatusTableTest, PastTheEndOfASession) {
  CreateWith(stub(), "three", SomeIds(3, 1));
  const auto refusal = [](const std::string& field) {
    return kvasir::testing::Refusal{
        grpc::OUT_OF_RANGE, "CONTEXT_EXCEEDED", {field, "4", "3"}, {{"session_length", "3"}}};
  };
  v1::TruncateSessionRequest truncate;
  truncate.set_session_id("three");
  truncate.set_length(4);
  ExpectRefused(Truncate(stub(), truncate), refusal("length"));
  v1::ForkSessionRequest fork;
  fork.set_session_id("three");
  fork.set_length(4);
  ExpectRefused(Fork(stub(), fork), refusal("length"));
  Ids ids;
  ExpectRefused(Read(stub(), "three", 4, ids), refusal("offset"));
  EXPECT_TRUE(Read(stub(), "three", 3, ids).ok());
  EXPECT_THAT(ids, IsEmpty());
  EXPECT_TRUE(Delete(stub(), "three").ok());
}

TEST_F(StatusTableTest, SessionIdTaken) {
  CreateWith(stub(), "taken", {1});
  const kvasir::testing::Refusal exists = {
      grpc::ALREADY_EXISTS, "SESSION_EXISTS", {"taken"}, {{"session_id", "taken"}}};
  v1::CreateSessionRequest create;
  create.set_session_id("taken");
  ExpectRefused(Create(stub(), create), exists);
  v1::ForkSessionRequest fork;
  fork.set_session_id("taken");
  fork.set_new_session_id("taken");
  ExpectRefused(Fork(stub(), fork), exists);
  EXPECT_TRUE(Delete(stub(), "taken").ok());
}

TEST_F(StatusTableTest, MessagesAreLimitedTo16MiB) {
  v1::CreateSessionRequest create;
  create.mutable_labels()->insert({"l", std::string(ModelService::kMaxMessageBytes, 'x')});
  EXPECT_EQ(Create(stub(), create).error_code(), grpc::RESOURCE_EXHAUSTED);
}

TEST(StatusTable, ContextExceeded) {
  const TinyVariant variant("max_position_embeddings", 64);
  EngineOptions options = TinyOptions();
  options.model_dir = variant.path();
  ModelServer server(options);
  CreateWith(server.stub(), "s", SomeIds(60, 1));
  ExpectRefused(Generate(server.stub(), AskFor("s", SomeIds(5, 2), 1)).status,
                {grpc::OUT_OF_RANGE,
                 "CONTEXT_EXCEEDED",
                 {"input_ids", "60", "5", "64"},
                 {{"session_length", "60"}, {"max_context", "64"}}});
  EXPECT_EQ(ReadAll(server.stub(), "s"), SomeIds(60, 1));
  v1::CreateSessionRequest create;
  const Ids many = SomeIds(65, 1);
  create.mutable_initial_ids()->Add(many.begin(), many.end());
  ExpectRefused(Create(server.stub(), create),
                {grpc::OUT_OF_RANGE, "CONTEXT_EXCEEDED", {"initial_ids", "65", "64"}, {}});
}

TEST(StatusTable, KvTooSmall) {
  EngineOptions options = TinyOptions();
  options.kv_memory = 256 << 10;
  ModelServer server(options);
  const uint64_t kv_tokens = server.engine().model_info().kv_tokens;
  ASSERT_THAT(kv_tokens, ::testing::AllOf(Gt(16), ::testing::Lt(1024)));
  const std::string limit = std::to_string(kv_tokens);
  const auto refuse = [&](const Ids& input, uint32_t count, const std::string& needed) {
    const grpc::Status status = Generate(server.stub(), AskFor("", input, count)).status;
    ExpectRefused(status, {grpc::RESOURCE_EXHAUSTED,
                           "KV_TOO_SMALL",
                           {needed, limit, "--kv-memory"},
                           {{"kv_tokens", limit}}});
    EXPECT_FALSE(DetailOf(status).retry_after.has_value());
  };
  refuse(SomeIds(kv_tokens + 1, 1), 1, std::to_string(kv_tokens + 1));
  // The last token needs no room: it is sampled, but nobody attends to it yet.
  refuse(SomeIds(kv_tokens - 4, 1), 6, std::to_string(kv_tokens + 1));
  EXPECT_TRUE(Generate(server.stub(), AskFor("", SomeIds(kv_tokens - 4, 1), 5)).status.ok());
}

TEST(StatusTable, QueueFull) {
  EngineOptions options = TinyOptions();
  options.max_running = 1;
  options.max_queue = 1;
  ModelServer server(options);
  LongCall running(server.stub(), "");
  running.AwaitToken();
  LongCall waiting(server.stub(), "");
  while (server.engine().stats().waiting < 1) std::this_thread::yield();
  const grpc::Status status = Generate(server.stub(), AskFor("", {1}, 1)).status;
  ExpectRefused(status, {grpc::RESOURCE_EXHAUSTED, "QUEUE_FULL", {"1"}, {{"max_queue", "1"}}});
  EXPECT_THAT(DetailOf(status).retry_after, Optional(Gt(absl::ZeroDuration())));
  running.Cancel();
  EXPECT_EQ(running.Finish().error_code(), grpc::CANCELLED);
  waiting.AwaitToken();
  waiting.Cancel();
  EXPECT_EQ(waiting.Finish().error_code(), grpc::CANCELLED);
}

TEST(StatusTable, Draining) {
  ModelServer server;
  CreateWith(server.stub(), "s", {1});
  LongCall running(server.stub(), "s");
  running.AwaitToken();
  bool idle = false;
  server.calls().Drain([&] { idle = true; });
  const kvasir::testing::Refusal draining = {grpc::UNAVAILABLE, "DRAINING", {"draining"}, {}};
  v1::Session session;
  v1::ListSessionsResponse page;
  Ids ids;
  ExpectRefused(Generate(server.stub(), AskFor("", {1}, 1)).status, draining);
  ExpectRefused(Create(server.stub(), {}), draining);
  ExpectRefused(Get(server.stub(), "s", session), draining);
  ExpectRefused(List(server.stub(), {}, page), draining);
  ExpectRefused(Fork(server.stub(), {}), draining);
  ExpectRefused(Truncate(server.stub(), {}), draining);
  ExpectRefused(Delete(server.stub(), "s"), draining);
  ExpectRefused(Read(server.stub(), "s", 0, ids), draining);
  running.AwaitToken();  // it goes on
  running.Cancel();
  EXPECT_EQ(running.Finish().error_code(), grpc::CANCELLED);
  server.server().Shutdown(absl::Seconds(5));
  EXPECT_TRUE(idle);
}

}  // namespace
}  // namespace kvasir
