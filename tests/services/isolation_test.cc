// What a tenant can learn of another's sessions, through real gRPC: nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "services/auth/authenticator.h"
#include "services/cli/connection.h"
#include "services/grpc_status.h"
#include "tests/engine/journal/redis_server.h"
#include "tests/engine/temporary_directory.h"
#include "tests/services/model_server.h"

namespace kvasir {
namespace {

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
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using Stub = v1::ModelService::Stub;

std::string WriteKeys(const testing::TemporaryDirectory& folder) {
  const std::string path = (folder.path() / "keys").string();
  std::ofstream(path) << "anna the-secret-of-anna\nbob the-secret-of-bob-x\n";
  return path;
}

// A server, and anna and bob, who call it.
struct Replica {
  Replica(std::shared_ptr<SessionStore> store, const Authenticator& authenticator)
      : server(WithStore(std::move(store)), RequestGuards{.authenticator = &authenticator}),
        anna(Connect("the-secret-of-anna")),
        bob(Connect("the-secret-of-bob-x")) {}

  static EngineOptions WithStore(std::shared_ptr<SessionStore> store) {
    EngineOptions options = testing::TinyOptions();
    options.session_store = std::move(store);
    return options;
  }
  std::unique_ptr<cli::Connection> Connect(const std::string& key) const {
    cli::ConnectionFlags flags;
    flags.model_server = server.address();
    flags.api_key = key;
    return std::make_unique<cli::Connection>(flags);
  }

  ModelServer server;
  std::unique_ptr<cli::Connection> anna, bob;
};

// The parameter: where sessions are kept.
class IsolationTest : public ::testing::TestWithParam<std::string> {
 protected:
  IsolationTest() {
    if (GetParam() == "redis") redis_.emplace();
    Start();
  }

  // Also anew, with what the store has.
  void Start() {
    replica_.reset();
    replica_ = NewReplica("replica1");
  }
  std::unique_ptr<Replica> NewReplica(const std::string& name) const {
    absl::StatusOr<std::unique_ptr<SessionStore>> store = nullptr;
    if (redis_) store = OpenRedisStore(redis_->url(), name);
    if (GetParam() == "sqlite") store = OpenSqliteStore((folder_.path() / "sessions.db").string());
    EXPECT_TRUE(store.ok()) << store.status();
    return std::make_unique<Replica>(store.ok() ? *std::move(store) : nullptr, *authenticator_);
  }
  Stub& anna() { return replica_->anna->model(); }
  Stub& bob() { return replica_->bob->model(); }

  testing::TemporaryDirectory folder_;
  std::optional<testing::RedisServer> redis_;
  std::unique_ptr<Authenticator> authenticator_ =
      *Authenticator::Open({.api_keys = WriteKeys(folder_), .tell = nullptr});
  std::unique_ptr<Replica> replica_;
};

// What every RPC that names a session answers about `id`.
std::map<std::string, grpc::Status> AskAbout(Stub& stub, const std::string& id) {
  std::map<std::string, grpc::Status> answers;
  answers["Generate"] = Generate(stub, AskFor(id, SomeIds(3, 1), 2)).status;
  v1::Session session;
  answers["GetSession"] = Get(stub, id, session);
  v1::ForkSessionRequest fork;
  fork.set_session_id(id);
  answers["ForkSession"] = Fork(stub, fork);
  v1::TruncateSessionRequest truncate;
  truncate.set_session_id(id);
  truncate.set_length(1);
  answers["TruncateSession"] = Truncate(stub, truncate);
  answers["DeleteSession"] = Delete(stub, id);
  Ids ids;
  answers["ReadSession"] = Read(stub, id, 0, ids);
  return answers;
}

std::vector<std::string> Listed(Stub& stub, const std::string& after = "", uint32_t size = 0,
                                const std::string& label = "") {
  v1::ListSessionsRequest request;
  request.set_page_token(after);
  request.set_page_size(size);
  if (!label.empty()) (*request.mutable_labels())[label] = "yes";
  v1::ListSessionsResponse page;
  const grpc::Status status = List(stub, request, page);
  EXPECT_TRUE(status.ok()) << status.error_message();
  std::vector<std::string> ids;
  for (const v1::Session& session : page.sessions()) ids.push_back(session.session_id());
  if (!page.next_page_token().empty()) ids.push_back("next: " + page.next_page_token());
  return ids;
}

// The answers about somebody else's `real` must be those about `absent`, ids of one length.
void ExpectTheSame(Stub& stub, const std::string& real, const std::string& absent) {
  const auto about_real = AskAbout(stub, real);
  const auto about_absent = AskAbout(stub, absent);
  for (const auto& [method, status] : about_real) {
    SCOPED_TRACE(method);
    const grpc::Status& other = about_absent.at(method);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND) << status.error_message();
    EXPECT_EQ(other.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(DetailOf(status).reason, "SESSION_NOT_FOUND");
    EXPECT_EQ(DetailOf(status).metadata.at("session_id"), real);
    std::string message = other.error_message(), details = other.error_details();
    for (std::string* text : {&message, &details}) {
      for (size_t at = 0; (at = text->find(absent, at)) != std::string::npos;) {
        text->replace(at, absent.size(), real);
      }
    }
    EXPECT_EQ(status.error_message(), message);
    EXPECT_EQ(status.error_details(), details);
  }
}

TEST(Isolation, AsksEveryRpcThatNamesASession) {
  const google::protobuf::ServiceDescriptor& service =
      *v1::GenerateRequest::descriptor()->file()->service(0);
  std::set<std::string> naming;
  for (int i = 0; i < service.method_count(); ++i) {
    if (service.method(i)->input_type()->FindFieldByName("session_id") != nullptr) {
      naming.insert(service.method(i)->name());
    }
  }
  ModelServer server;
  std::set<std::string> asked = {"CreateSession"};  // where the id is the caller's to choose
  for (const auto& [method, status] : AskAbout(server.stub(), "x")) asked.insert(method);
  EXPECT_EQ(asked, naming);
}

TEST_P(IsolationTest, AnothersSessionIsNotThere) {
  const Ids ids = SomeIds(50, 7);
  CreateWith(anna(), "monday", ids);
  ExpectTheSame(bob(), "monday", "fridax");
  // Nor while a call is on it.
  bool asked = false;
  grpc::ClientContext context;
  const Generation running =
      Generate(anna(), AskFor("monday", {}, 300), context, [&](const Generation&) {
        if (!asked) ExpectTheSame(bob(), "monday", "fridax");
        asked = true;
      });
  EXPECT_TRUE(running.status.ok()) << running.status.error_message();
  EXPECT_TRUE(asked);
  EXPECT_EQ(ReadAll(anna(), "monday").size(), 350);
  if (GetParam() == "memory") return;
  Start();  // nor in the store alone
  ExpectTheSame(bob(), "monday", "fridax");
  EXPECT_EQ(ReadAll(anna(), "monday").size(), 350);
}

TEST_P(IsolationTest, NamesAreEachTenantsOwn) {
  const Ids hers = SomeIds(40, 1), his = SomeIds(30, 2);
  EXPECT_EQ(CreateWith(anna(), "monday", hers).session_id(), "monday");
  EXPECT_EQ(CreateWith(bob(), "monday", his).session_id(), "monday");
  v1::CreateSessionRequest again;
  again.set_session_id("monday");
  const grpc::Status taken = Create(bob(), again);
  EXPECT_EQ(DetailOf(taken).reason, "SESSION_EXISTS");
  EXPECT_EQ(DetailOf(taken).metadata.at("session_id"), "monday");
  EXPECT_THAT(taken.error_message(), AllOf(HasSubstr("'monday'"), Not(HasSubstr("bob"))));

  v1::ForkSessionRequest fork;
  fork.set_session_id("monday");
  fork.set_new_session_id("tuesday");
  v1::Session forked;
  EXPECT_TRUE(Fork(bob(), fork, &forked).ok());
  EXPECT_EQ(forked.session_id(), "tuesday");
  EXPECT_EQ(forked.parent_session_id(), "monday");
  EXPECT_EQ(ReadAll(bob(), "tuesday"), his);
  const Generation generation = Generate(bob(), AskFor("monday", {}, 4));
  ASSERT_TRUE(generation.started.has_value());
  EXPECT_EQ(generation.started->session_id(), "monday");

  if (GetParam() != "memory") Start();
  EXPECT_EQ(ReadAll(anna(), "monday"), hers);
  EXPECT_EQ(ReadAll(bob(), "monday").size(), his.size() + 4);
  EXPECT_TRUE(Delete(bob(), "monday").ok());
  EXPECT_EQ(ReadAll(anna(), "monday"), hers);
  EXPECT_THAT(Listed(anna()), ElementsAre("monday"));
  EXPECT_THAT(Listed(bob()), ElementsAre("tuesday"));
}

TEST_P(IsolationTest, ListsHaveOnesOwn) {
  const auto create = [](Stub& stub, const std::string& id) {
    v1::CreateSessionRequest request;
    request.set_session_id(id);
    (*request.mutable_labels())["chat"] = "yes";
    EXPECT_TRUE(Create(stub, request).ok());
  };
  for (const char* id : {"a", "c", "e"}) create(bob(), id);
  EXPECT_THAT(Listed(anna()), ElementsAre());
  EXPECT_THAT(Listed(anna(), "", 2, "chat"), ElementsAre());
  for (const char* id : {"b", "d"}) create(anna(), id);
  if (GetParam() != "memory") Start();
  EXPECT_THAT(Listed(anna()), ElementsAre("b", "d"));
  EXPECT_THAT(Listed(anna(), "", 1), ElementsAre("b", "next: b"));
  EXPECT_THAT(Listed(anna(), "b", 1), ElementsAre("d"));
  EXPECT_THAT(Listed(anna(), "c", 1, "chat"), ElementsAre("d"));
  EXPECT_THAT(Listed(bob(), "a", 1, "chat"), ElementsAre("c", "next: c"));
  EXPECT_THAT(Listed(bob()), ElementsAre("a", "c", "e"));
}

// Neither where it is in memory, nor on another replica with the same store, whichever of them has
// it.
class ReplicasTest : public IsolationTest {};

TEST_P(ReplicasTest, AnothersSessionIsNotThereOnAnyOfThem) {
  const auto other = NewReplica("replica2");
  CreateWith(anna(), "monday", SomeIds(50, 7));
  bool asked = false;
  grpc::ClientContext context;
  const Generation running =
      Generate(anna(), AskFor("monday", {}, 300), context, [&](const Generation&) {
        if (!asked) ExpectTheSame(other->bob->model(), "monday", "fridax");
        asked = true;
      });
  EXPECT_TRUE(running.status.ok()) << running.status.error_message();
  EXPECT_TRUE(asked);
  EXPECT_EQ(ReadAll(other->anna->model(), "monday").size(), 350);
  for (Stub* stub : {&bob(), &other->bob->model()}) ExpectTheSame(*stub, "monday", "fridax");

  // A session of his own under that name is another one, wherever he is answered.
  const Ids his = SomeIds(20, 3);
  CreateWith(other->bob->model(), "monday", his);
  EXPECT_EQ(ReadAll(bob(), "monday"), his);
  EXPECT_TRUE(Delete(other->bob->model(), "monday").ok());
  for (Stub* stub : {&bob(), &other->bob->model()}) ExpectTheSame(*stub, "monday", "fridax");
  EXPECT_EQ(ReadAll(anna(), "monday").size(), 350);
  EXPECT_THAT(Listed(other->bob->model()), ElementsAre());
  EXPECT_THAT(Listed(other->anna->model()), ElementsAre("monday"));
}

// How long a first token takes would tell what others have asked.
TEST_P(IsolationTest, NothingIsComputedForOthers) {
  const Ids ids = SomeIds(100, 3);
  const auto cached = [&](Stub& stub, const std::string& session) {
    v1::GenerateRequest request = AskFor(session, ids, 2);
    request.set_create_if_missing(true);
    const Generation generation = Generate(stub, request);
    EXPECT_TRUE(generation.status.ok()) << generation.status.error_message();
    return generation.started ? generation.started->cached_tokens() : 0;
  };
  EXPECT_EQ(cached(anna(), "a"), 0);
  EXPECT_EQ(cached(bob(), "b"), 0);
  EXPECT_GT(cached(bob(), "c"), 0);
}

INSTANTIATE_TEST_SUITE_P(Stores, IsolationTest, ::testing::Values("memory", "sqlite", "redis"),
                         [](const auto& info) { return info.param; });

INSTANTIATE_TEST_SUITE_P(Stores, ReplicasTest, ::testing::Values("redis"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace kvasir
