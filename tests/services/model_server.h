#ifndef KVASIR_TESTS_SERVICES_MODEL_SERVER_H_
#define KVASIR_TESTS_SERVICES_MODEL_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "kvasir/v1/model.grpc.pb.h"
#include "services/metrics.h"
#include "services/model_service.h"
#include "services/server.h"
#include "tests/engine/temporary_directory.h"

namespace kvasir::testing {

using Ids = std::vector<uint32_t>;

// The embedded model, a KV pool of 64 MiB, two threads.
EngineOptions TinyOptions();

// A checkpoint directory that differs from the embedded model in one number of config.json; removed
// with the object.
class TinyVariant {
 public:
  TinyVariant(const std::string& field, int64_t value);
  const std::filesystem::path& path() const { return directory_.path(); }

 private:
  TemporaryDirectory directory_;
};

// `count` ids of the embedded model's ordinary tokens, different for every seed.
Ids SomeIds(size_t count, uint32_t seed);

// What a Generate call brought.
struct Generation {
  grpc::Status status;
  std::optional<v1::GenerateStarted> started;
  Ids ids;
  std::vector<v1::TokenLogprob> logprobs, prompt_logprobs;
  std::optional<v1::GenerateComplete> complete;
};

// Reads a Generate call to its end. `on_chunk` is called after each chunk.
Generation Generate(v1::ModelService::Stub& stub, const v1::GenerateRequest& request,
                    grpc::ClientContext& context,
                    const std::function<void(const Generation&)>& on_chunk = nullptr);
Generation Generate(v1::ModelService::Stub& stub, const v1::GenerateRequest& request);

// A request with `count` new tokens asked for, eos ignored: it ends by count alone.
v1::GenerateRequest AskFor(const std::string& session_id, const Ids& input, uint32_t count);

grpc::Status Create(v1::ModelService::Stub& stub, const v1::CreateSessionRequest& request,
                    v1::Session* session = nullptr);
// The same, with an id and initial ids; a failure where it is refused.
v1::Session CreateWith(v1::ModelService::Stub& stub, const std::string& id, const Ids& ids);
grpc::Status Get(v1::ModelService::Stub& stub, const std::string& id, v1::Session& session);
grpc::Status Fork(v1::ModelService::Stub& stub, const v1::ForkSessionRequest& request,
                  v1::Session* session = nullptr);
grpc::Status Truncate(v1::ModelService::Stub& stub, const v1::TruncateSessionRequest& request,
                      v1::Session* session = nullptr);
grpc::Status Delete(v1::ModelService::Stub& stub, const std::string& id);
grpc::Status List(v1::ModelService::Stub& stub, const v1::ListSessionsRequest& request,
                  v1::ListSessionsResponse& response);
// `chunks`: how many messages it came in.
grpc::Status Read(v1::ModelService::Stub& stub, const std::string& id, uint64_t offset, Ids& ids,
                  int* chunks = nullptr);
// All of a session; a failure where it is refused.
Ids ReadAll(v1::ModelService::Stub& stub, const std::string& id);

// The model service on a free port of this process, and a client of it.
class ModelServer {
 public:
  explicit ModelServer(EngineOptions options = TinyOptions(), RequestGuards guards = {});
  ~ModelServer();

  v1::ModelService::Stub& stub() { return *stub_; }
  // A client with a connection of its own.
  std::unique_ptr<v1::ModelService::Stub> NewStub(grpc::ChannelArguments arguments = {});
  const std::string& address() const { return server_->address(); }
  Engine& engine() { return *engine_; }
  RunningCalls& calls() { return service_->calls(); }
  Server& server() { return *server_; }
  prometheus::Registry& registry() { return registry_; }
  // After everything that was asked before.
  EngineStats SettledStats();

 private:
  std::unique_ptr<Engine> engine_;
  prometheus::Registry registry_;
  RequestMetrics metrics_{registry_};
  GenerateMetrics generate_metrics_{registry_, "tiny"};
  std::unique_ptr<ModelService> service_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::ModelService::Stub> stub_;
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_MODEL_SERVER_H_
