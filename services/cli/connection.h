#ifndef KVASIR_SERVICES_CLI_CONNECTION_H_
#define KVASIR_SERVICES_CLI_CONNECTION_H_

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/v1/model.grpc.pb.h"
#include "kvasir/v1/tokenizer.grpc.pb.h"
#include "services/cli/interrupts.h"

namespace kvasir::cli {

using TokenIds = std::vector<uint32_t>;

struct ServerAddresses {
  std::string model_server = "127.0.0.1:50052";
  std::string tokenizer_server = "127.0.0.1:50051";

  void AddModelFlag(CLI::App& app);
  void AddTokenizerFlag(CLI::App& app);
};

// The two services. Ctrl-C cancels every call.
class Connection {
 public:
  explicit Connection(const ServerAddresses& addresses);

  v1::ModelService::Stub& model() { return *model_; }
  v1::TokenizerService::Stub& tokenizer() { return *tokenizer_; }

  // One unary call: Call(connection.model(), &v1::ModelService::Stub::GetSession, request,
  // response).
  template <typename Stub, typename Request, typename Response>
  static grpc::Status Call(Stub& stub,
                           grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                        Response*),
                           const Request& request, Response& response) {
    grpc::ClientContext context;
    const Interrupts::Cancels cancels(context);
    return (stub.*method)(&context, request, &response);
  }

  // Added tokens in `text` are recognised.
  grpc::Status Encode(std::string_view text, TokenIds& ids);
  grpc::Status Decode(const TokenIds& ids, std::string& text);

 private:
  std::unique_ptr<v1::ModelService::Stub> model_;
  std::unique_ptr<v1::TokenizerService::Stub> tokenizer_;
};

// "UNAVAILABLE" and so on.
std::string_view NameOf(grpc::StatusCode code);

// Tells of `status` in one line on stderr. Returns the program's exit code: 1, or that of Ctrl-C
// where it is why the call ended. REQUIRES: !status.ok().
int ReportFailure(const grpc::Status& status);

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_CONNECTION_H_
