// What Encode of a short text costs beyond gRPC itself: calls a second of it and of an RPC that
// does nothing, by the same clients to the same server, in turns.
//
//   tokenizer_rpc_bench MODEL_DIR [CLIENTS [BYTES [ROUNDS]]]
//
// Prints one JSON object of medians; `ratio` is that of the rounds' ratios: the machine may be
// another from one round to the next. Clients and server share the CPUs.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/check.h"
#include "kvasir/v1/model.grpc.pb.h"
#include "services/tokenizer_service.h"

namespace kvasir {
namespace {

// DeleteSession, whose messages are as good as empty, is the RPC that does nothing.
class EmptyService final : public v1::ModelService::CallbackService {
 public:
  grpc::ServerUnaryReactor* DeleteSession(grpc::CallbackServerContext* context,
                                          const v1::DeleteSessionRequest*,
                                          v1::DeleteSessionResponse*) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

struct Client {
  std::unique_ptr<v1::TokenizerService::Stub> tokenizer;
  std::unique_ptr<v1::ModelService::Stub> model;
};

constexpr int kCallsOfARound = 400;  // of each client

// Calls a second: each client calls again when it has its answer.
template <typename Call>
double Rate(const std::vector<Client>& clients, Call call) {
  std::vector<std::thread> threads;
  const auto start = std::chrono::steady_clock::now();
  for (const Client& client : clients) {
    threads.emplace_back([&client, &call] {
      for (int i = 0; i < kCallsOfARound; ++i) {
        grpc::ClientContext context;
        KVASIR_CHECK(call(client, context).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return kCallsOfARound * static_cast<double>(clients.size()) / seconds.count();
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: tokenizer_rpc_bench MODEL_DIR [CLIENTS [BYTES [ROUNDS]]]\n");
    return 2;
  }
  const int client_count = argc > 2 ? std::atoi(argv[2]) : 16;
  const int bytes = argc > 3 ? std::atoi(argv[3]) : 100;
  const int rounds = argc > 4 ? std::atoi(argv[4]) : 21;
  KVASIR_CHECK(client_count > 0 && bytes > 0 && rounds > 0);
  const auto tokenizer = Tokenizer::Load(argv[1]);
  KVASIR_CHECK(tokenizer.ok());
  const ChatRenderer renderer(**tokenizer);
  prometheus::Registry registry;
  RequestMetrics request_metrics(registry);
  TokenizerMetrics metrics(registry);
  TokenizerService service(**tokenizer, renderer, 0, RequestObservers{request_metrics}, metrics);
  EmptyService empty;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  builder.RegisterService(&empty);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  KVASIR_CHECK(server != nullptr);

  std::vector<Client> clients;
  for (int i = 0; i < client_count; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt("client", i);  // Or all would share one connection.
    const auto channel = grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port),
                                                   grpc::InsecureChannelCredentials(), arguments);
    clients.push_back({v1::TokenizerService::NewStub(channel), v1::ModelService::NewStub(channel)});
  }
  const std::string sentence = "The quick brown fox doesn't jump over 13 lazy dogs; it sleeps. ";
  std::string text;
  while (text.size() < static_cast<size_t>(bytes)) text += sentence;
  text.resize(bytes);
  v1::EncodeRequest request;
  request.set_text(text);

  const auto encode = [&](const Client& client, grpc::ClientContext& context) {
    v1::EncodeResponse response;
    return client.tokenizer->Encode(&context, request, &response);
  };
  const auto nothing = [](const Client& client, grpc::ClientContext& context) {
    v1::DeleteSessionResponse response;
    return client.model->DeleteSession(&context, v1::DeleteSessionRequest(), &response);
  };
  Rate(clients, encode);  // a warm-up of each
  Rate(clients, nothing);
  std::vector<double> encoded, empties, ratios;
  for (int round = 0; round < rounds; ++round) {
    encoded.push_back(Rate(clients, encode));
    empties.push_back(Rate(clients, nothing));
    ratios.push_back(encoded.back() / empties.back());
  }
  std::printf(
      "{\"clients\": %d, \"bytes\": %d, \"rounds\": %d, \"encode_per_second\": %.0f, "
      "\"empty_per_second\": %.0f, \"ratio\": %.3f}\n",
      client_count, bytes, rounds, Median(encoded), Median(empties), Median(ratios));
  server->Shutdown();
  return 0;
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) { return kvasir::Main(argc, argv); }
