// What the gateway costs: the same conversations by gRPC to the two services and by HTTP to the
// gateway before them, in turns; clients and servers share the CPUs.
//
//   scripts/with_services.sh build/release/bin/gateway_bench [BATCH [TOKENS [ROUNDS]]]
//
// Prints one JSON object of medians: tokens a second of BATCH conversations together, with text
// whole at the end and as it comes, and what the gateway loses, round by round: the machine may be
// another from one round to the next.
#include <curl/curl.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/check.h"
#include "kvasir/v1/model.grpc.pb.h"
#include "kvasir/v1/tokenizer.grpc.pb.h"

namespace kvasir {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kQuestion[] = "My name is Mara. What do you know about me?";

std::string Setting(const char* name) {
  const char* value = std::getenv(name);
  KVASIR_CHECK(value != nullptr);
  return value;
}

struct Work {
  int batch = 16;
  int tokens = 256;
  std::vector<uint32_t> eos;  // which must not end it
};

// As a client without a gateway does: renders, generates, and turns what comes into text.
class Direct {
 public:
  Direct()
      : model_(v1::ModelService::NewStub(Channel("KVASIR_MODEL_ADDRESS"))),
        tokenizer_(v1::TokenizerService::NewStub(Channel("KVASIR_TOKENIZER_ADDRESS"))) {}

  std::vector<uint32_t> Eos() {
    grpc::ClientContext context;
    v1::GetModelInfoResponse info;
    KVASIR_CHECK(model_->GetModelInfo(&context, {}, &info).ok());
    return {info.eos_token_ids().begin(), info.eos_token_ids().end()};
  }

  void Ask(const Work& work, int seed, bool streams) {
    v1::ApplyChatTemplateRequest chat;
    v1::ChatMessage& message = *chat.add_messages();
    message.set_role("user");
    message.set_content(kQuestion);
    v1::ApplyChatTemplateResponse rendered;
    grpc::ClientContext chat_context;
    KVASIR_CHECK(tokenizer_->ApplyChatTemplate(&chat_context, chat, &rendered).ok());
    v1::GenerateRequest request;
    *request.mutable_input_ids() = rendered.ids();
    request.set_max_new_tokens(static_cast<uint32_t>(work.tokens));
    request.mutable_sampling()->set_seed(static_cast<uint64_t>(seed));
    for (const uint32_t id : work.eos)
      (*request.mutable_sampling()->mutable_logit_bias())[id] = -100;
    grpc::ClientContext context;
    const auto call = model_->Generate(&context, request);
    const size_t bytes = streams ? ReadStream(*call) : ReadWhole(*call);
    KVASIR_CHECK(call->Finish().ok() && bytes > 0);
  }

 private:
  static std::shared_ptr<grpc::Channel> Channel(const char* name) {
    return grpc::CreateChannel(Setting(name), grpc::InsecureChannelCredentials());
  }

  size_t ReadStream(grpc::ClientReader<v1::GenerateResponse>& call) {
    grpc::ClientContext context;
    const auto decode = tokenizer_->DecodeStream(&context);
    size_t bytes = 0;
    std::thread reader([&] {
      v1::DecodeStreamResponse text;
      while (decode->Read(&text)) bytes += text.text().size();
    });
    v1::GenerateResponse event;
    while (call.Read(&event)) {
      if (!event.has_chunk()) continue;
      v1::DecodeStreamRequest ids;
      *ids.mutable_ids() = event.chunk().ids();
      decode->Write(ids);
    }
    decode->WritesDone();
    reader.join();
    KVASIR_CHECK(decode->Finish().ok());
    return bytes;
  }

  size_t ReadWhole(grpc::ClientReader<v1::GenerateResponse>& call) {
    v1::DecodeRequest ids;
    v1::GenerateResponse event;
    while (call.Read(&event)) ids.mutable_ids()->MergeFrom(event.chunk().ids());
    grpc::ClientContext context;
    v1::DecodeResponse text;
    KVASIR_CHECK(tokenizer_->Decode(&context, ids, &text).ok());
    return text.text().size();
  }

  std::unique_ptr<v1::ModelService::Stub> model_;
  std::unique_ptr<v1::TokenizerService::Stub> tokenizer_;
};

size_t Count(char*, size_t size, size_t count, void* bytes) {
  *static_cast<size_t*>(bytes) += size * count;
  return size * count;
}

// One of a kept connection.
void AskGateway(CURL* connection, const Work& work, int seed, bool streams) {
  std::string body = R"({"messages":[{"role":"user","content":")";
  body += kQuestion;
  body +=
      R"("}],"max_tokens":)" + std::to_string(work.tokens) + R"(,"seed":)" + std::to_string(seed);
  body += streams ? R"(,"stream":true,"logit_bias":{)" : R"(,"logit_bias":{)";
  for (const uint32_t id : work.eos) body += '"' + std::to_string(id) + R"(":-100,)";
  body.back() = '}';
  body += '}';
  curl_slist* headers = curl_slist_append(nullptr, "Content-Type: application/json");
  size_t bytes = 0;
  curl_easy_setopt(connection, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(connection, CURLOPT_POSTFIELDS, body.c_str());
  curl_easy_setopt(connection, CURLOPT_WRITEFUNCTION, Count);
  curl_easy_setopt(connection, CURLOPT_WRITEDATA, &bytes);
  KVASIR_CHECK(curl_easy_perform(connection) == CURLE_OK);
  long status = 0;
  curl_easy_getinfo(connection, CURLINFO_RESPONSE_CODE, &status);
  KVASIR_CHECK(status == 200 && bytes > 0);
  curl_slist_free_all(headers);
}

// Tokens a second of `batch` askers at once.
double Rate(const Work& work, const std::function<void(int)>& ask) {
  const Clock::time_point start = Clock::now();
  std::vector<std::thread> threads;
  for (int i = 0; i < work.batch; ++i) threads.emplace_back(ask, i);
  for (std::thread& thread : threads) thread.join();
  return work.batch * work.tokens / std::chrono::duration<double>(Clock::now() - start).count();
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void Measure(const Work& work, int rounds) {
  Direct direct;
  std::vector<CURL*> connections;
  const std::string url = "http://" + Setting("KVASIR_GATEWAY_ADDRESS") + "/v1/chat/completions";
  for (int i = 0; i < work.batch; ++i) {
    connections.push_back(curl_easy_init());
    curl_easy_setopt(connections.back(), CURLOPT_URL, url.c_str());
  }
  std::printf("{\"batch\": %d, \"tokens\": %d, \"rounds\": %d", work.batch, work.tokens, rounds);
  for (const bool streams : {false, true}) {
    std::vector<double> by_grpc, by_gateway, lost;
    for (int round = -1; round < rounds; ++round) {
      const auto ask_direct = [&](int i) { direct.Ask(work, i, streams); };
      const auto ask_gateway = [&](int i) { AskGateway(connections[i], work, i, streams); };
      const bool first = round % 2 == 0;  // who is
      const double a = first ? Rate(work, ask_direct) : Rate(work, ask_gateway);
      const double b = first ? Rate(work, ask_gateway) : Rate(work, ask_direct);
      if (round < 0) continue;  // warms up
      by_grpc.push_back(first ? a : b);
      by_gateway.push_back(first ? b : a);
      lost.push_back(1 - by_gateway.back() / by_grpc.back());
    }
    const char* what = streams ? "streamed" : "whole";
    std::printf(", \"%s\": {\"grpc\": %.0f, \"gateway\": %.0f, \"lost\": %.3f}", what,
                Median(by_grpc), Median(by_gateway), Median(lost));
  }
  std::printf("}\n");
  for (CURL* connection : connections) curl_easy_cleanup(connection);
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) {
  kvasir::Work work;
  if (argc > 1) work.batch = std::atoi(argv[1]);
  if (argc > 2) work.tokens = std::atoi(argv[2]);
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 9;
  KVASIR_CHECK(work.batch > 0 && work.tokens > 0 && rounds > 0);
  curl_global_init(CURL_GLOBAL_DEFAULT);
  work.eos = kvasir::Direct().Eos();
  kvasir::Measure(work, rounds);
  curl_global_cleanup();
}
