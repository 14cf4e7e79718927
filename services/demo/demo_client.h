#ifndef KVASIR_SERVICES_DEMO_DEMO_CLIENT_H_
#define KVASIR_SERVICES_DEMO_DEMO_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/v1/model.grpc.pb.h"
#include "kvasir/v1/tokenizer.grpc.pb.h"

namespace kvasir::demo {

using TokenIds = std::vector<uint32_t>;
using TextSink = std::function<void(std::string_view)>;

// What one Generate call gave, timed by the client's clock.
struct Generation {
  TokenIds ids;
  std::string text;
  v1::GenerateStarted started;
  v1::GenerateComplete complete;
  double first_token_seconds = 0;  // from the call to the first token
  double seconds = 0;              // from the call to the last token
};

// Both services as a client sees them. A call that fails ends the program: exit code 1, the gRPC
// code and message on stderr.
class DemoClient {
 public:
  DemoClient(const std::string& tokenizer_address, const std::string& model_address);

  // Until the model service answers; half a minute at most.
  void AwaitModel();
  v1::GetTokenizerInfoResponse TokenizerInfo();
  v1::GetModelInfoResponse ModelInfo();
  TokenIds Encode(std::string_view text);
  v1::ApplyChatTemplateResponse Render(const std::vector<v1::ChatMessage>& messages,
                                       bool add_generation_prompt);
  v1::Session CreateSession(const TokenIds& initial_ids);
  v1::Session ForkSession(const std::string& session_id);
  void DeleteSession(const std::string& session_id);
  // `sink` gets the text as it comes, on another thread, and never after the return.
  Generation Generate(const v1::GenerateRequest& request, const TextSink& sink);

 private:
  std::unique_ptr<v1::TokenizerService::Stub> tokenizer_;
  std::unique_ptr<v1::ModelService::Stub> model_;
};

}  // namespace kvasir::demo

#endif  // KVASIR_SERVICES_DEMO_DEMO_CLIENT_H_
