#include "tests/services/model_server.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>
#include <utility>

#include "engine/check.h"

namespace kvasir::testing {
namespace {

const std::filesystem::path kTiny = std::filesystem::path(KVASIR_SOURCE_DIR) / "models" / "tiny";

}  // namespace

EngineOptions TinyOptions() {
  EngineOptions options;
  options.model_dir = kTiny;
  options.kv_memory = 64 << 20;
  options.threads = 2;
  return options;
}

TinyVariant::TinyVariant(const std::string& field, int64_t value) {
  for (const char* name : {"model.safetensors", "generation_config.json"}) {
    std::filesystem::create_symlink(kTiny / name, path() / name);
  }
  std::ifstream file(kTiny / "config.json");
  std::string config(std::istreambuf_iterator<char>(file), {});
  const size_t key = config.find("\"" + field + "\":");
  KVASIR_CHECK(key != std::string::npos);
  const size_t begin = config.find(':', key) + 1;
  config.replace(begin, config.find_first_of(",\n", begin) - begin, " " + std::to_string(value));
  std::ofstream(path() / "config.json") << config;
}

Ids SomeIds(size_t count, uint32_t seed) {
  std::minstd_rand random(seed);
  Ids ids(count);
  for (uint32_t& id : ids) id = random() % 1500;
  return ids;
}

Generation Generate(v1::ModelService::Stub& stub, const v1::GenerateRequest& request,
                    grpc::ClientContext& context,
                    const std::function<void(const Generation&)>& on_chunk) {
  Generation generation;
  const auto reader = stub.Generate(&context, request);
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
    EXPECT_FALSE(generation.complete.has_value()) << "nothing follows `complete`";
    EXPECT_EQ(response.has_started(), !generation.started.has_value()) << "`started` comes first";
    if (response.has_started()) generation.started = response.started();
    if (response.has_complete()) generation.complete = response.complete();
    if (!response.has_chunk()) continue;
    const v1::TokenChunk& chunk = response.chunk();
    generation.ids.insert(generation.ids.end(), chunk.ids().begin(), chunk.ids().end());
    for (const v1::TokenLogprob& logprob : chunk.prompt_logprobs()) {
      EXPECT_TRUE(generation.logprobs.empty()) << "prompt_logprobs come before new tokens";
      generation.prompt_logprobs.push_back(logprob);
    }
    for (const v1::TokenLogprob& logprob : chunk.logprobs()) generation.logprobs.push_back(logprob);
    if (on_chunk) on_chunk(generation);
  }
  generation.status = reader->Finish();
  // The other way round need not be: a call may be given up between the two.
  EXPECT_TRUE(!generation.status.ok() || generation.complete.has_value());
  return generation;
}

Generation Generate(v1::ModelService::Stub& stub, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  return Generate(stub, request, context);
}

v1::GenerateRequest AskFor(const std::string& session_id, const Ids& input, uint32_t count) {
  v1::GenerateRequest request;
  request.set_session_id(session_id);
  request.mutable_input_ids()->Add(input.begin(), input.end());
  request.set_max_new_tokens(count);
  request.set_ignore_eos(true);
  return request;
}

grpc::Status Create(v1::ModelService::Stub& stub, const v1::CreateSessionRequest& request,
                    v1::Session* session) {
  grpc::ClientContext context;
  v1::CreateSessionResponse response;
  const grpc::Status status = stub.CreateSession(&context, request, &response);
  if (session != nullptr) *session = response.session();
  return status;
}

v1::Session CreateWith(v1::ModelService::Stub& stub, const std::string& id, const Ids& ids) {
  v1::CreateSessionRequest request;
  request.set_session_id(id);
  request.mutable_initial_ids()->Add(ids.begin(), ids.end());
  v1::Session session;
  const grpc::Status status = Create(stub, request, &session);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return session;
}

grpc::Status Get(v1::ModelService::Stub& stub, const std::string& id, v1::Session& session) {
  grpc::ClientContext context;
  v1::GetSessionRequest request;
  request.set_session_id(id);
  v1::GetSessionResponse response;
  const grpc::Status status = stub.GetSession(&context, request, &response);
  session = response.session();
  return status;
}

grpc::Status Fork(v1::ModelService::Stub& stub, const v1::ForkSessionRequest& request,
                  v1::Session* session) {
  grpc::ClientContext context;
  v1::ForkSessionResponse response;
  const grpc::Status status = stub.ForkSession(&context, request, &response);
  if (session != nullptr) *session = response.session();
  return status;
}

grpc::Status Truncate(v1::ModelService::Stub& stub, const v1::TruncateSessionRequest& request,
                      v1::Session* session) {
  grpc::ClientContext context;
  v1::TruncateSessionResponse response;
  const grpc::Status status = stub.TruncateSession(&context, request, &response);
  if (session != nullptr) *session = response.session();
  return status;
}

grpc::Status Delete(v1::ModelService::Stub& stub, const std::string& id) {
  grpc::ClientContext context;
  v1::DeleteSessionRequest request;
  request.set_session_id(id);
  v1::DeleteSessionResponse response;
  return stub.DeleteSession(&context, request, &response);
}

grpc::Status List(v1::ModelService::Stub& stub, const v1::ListSessionsRequest& request,
                  v1::ListSessionsResponse& response) {
  grpc::ClientContext context;
  return stub.ListSessions(&context, request, &response);
}

grpc::Status Read(v1::ModelService::Stub& stub, const std::string& id, uint64_t offset, Ids& ids,
                  int* chunks) {
  grpc::ClientContext context;
  v1::ReadSessionRequest request;
  request.set_session_id(id);
  request.set_offset(offset);
  const auto reader = stub.ReadSession(&context, request);
  v1::ReadSessionResponse response;
  ids.clear();
  if (chunks != nullptr) *chunks = 0;
  while (reader->Read(&response)) {
    ids.insert(ids.end(), response.ids().begin(), response.ids().end());
    if (chunks != nullptr) ++*chunks;
  }
  return reader->Finish();
}

Ids ReadAll(v1::ModelService::Stub& stub, const std::string& id) {
  Ids ids;
  const grpc::Status status = Read(stub, id, 0, ids);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return ids;
}

ModelServer::ModelServer(EngineOptions options, RequestGuards guards) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(std::move(options));
  if (!engine.ok()) ADD_FAILURE() << engine.status();
  KVASIR_CHECK(engine.ok());
  engine_ = *std::move(engine);
  service_ = std::make_unique<ModelService>(*engine_, RequestObservers{metrics_}, generate_metrics_,
                                            guards);
  auto server = Server::Start(
      {"127.0.0.1:0", v1::ModelService::service_full_name(), ModelService::kMaxMessageBytes},
      *service_);
  KVASIR_CHECK(server.ok());
  server_ = *std::move(server);
  stub_ = NewStub();
}

ModelServer::~ModelServer() { server_->Shutdown(absl::ZeroDuration()); }

std::unique_ptr<v1::ModelService::Stub> ModelServer::NewStub(grpc::ChannelArguments arguments) {
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  return v1::ModelService::NewStub(
      grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), arguments));
}

EngineStats ModelServer::SettledStats() {
  // The engine publishes after each round of its loop; the second question is answered in a round
  // after the first one's.
  v1::ListSessionsResponse response;
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(List(stub(), {}, response).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return engine_->stats();
}

}  // namespace kvasir::testing
