#ifndef KVASIR_SERVICES_CLI_CONNECTION_H_
#define KVASIR_SERVICES_CLI_CONNECTION_H_

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/v1/model.grpc.pb.h"
#include "kvasir/v1/tokenizer.grpc.pb.h"
#include "services/cli/interrupts.h"
#include "services/cli/retries.h"
#include "services/cli/session_calls.h"

namespace kvasir::cli {

using TokenIds = std::vector<uint32_t>;

// Where the services are, and how long they are waited for.
struct ConnectionFlags {
  std::string model_server = "127.0.0.1:50052";
  std::string tokenizer_server = "127.0.0.1:50051";
  double retry_for = 30;  // seconds
  std::string api_key;    // empty: none is shown
  // Files in PEM; empty: plain text, no certificate of our own.
  std::string tls_ca, tls_certificate, tls_key;

  // With --retry-for, --api-key and those of TLS.
  void AddModelFlag(CLI::App& app);
  // Without the first two.
  void AddModelServerFlag(CLI::App& app);
  void AddTokenizerFlag(CLI::App& app);
};

// The two services. Ctrl-C cancels every call; calls of a session carry its header.
class Connection {
 public:
  explicit Connection(const ConnectionFlags& flags);

  v1::ModelService::Stub& model() { return *model_; }
  v1::TokenizerService::Stub& tokenizer() { return *tokenizer_; }
  Retries& retries() { return retries_; }

  // Whether a way to each is open, or opens by then.
  bool ReachesModel(std::chrono::system_clock::time_point deadline) {
    return model_channel_->WaitForConnected(deadline);
  }
  bool ReachesTokenizer(std::chrono::system_clock::time_point deadline) {
    return tokenizer_channel_->WaitForConnected(deadline);
  }

  // One unary call, repeated while the service cannot be reached: Call(connection.model(),
  // &v1::ModelService::Stub::GetSession, request, response). `repeated`: whether it was; then one
  // that seemed to have failed may have been carried out. REQUIRES: once or several times is the
  // same, or the caller looks at `repeated`.
  template <typename Stub, typename Request, typename Response>
  grpc::Status Call(Stub& stub,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response& response, bool* repeated = nullptr) {
    for (bool first = true;; first = false) {
      grpc::ClientContext context;
      const Interrupts::Cancels cancels(context);
      AddHeaders(context, request);
      grpc::Status status = (stub.*method)(&context, request, &response);
      if (repeated != nullptr) *repeated = !first;
      if (status.ok()) retries_.Progress();
      if (status.ok() || !IsTransient(status) || !retries_.Again(status)) return status;
    }
  }

  // Added tokens in `text` are recognised.
  grpc::Status Encode(std::string_view text, TokenIds& ids);
  grpc::Status Decode(const TokenIds& ids, std::string& text);

 private:
  Retries retries_;
  std::shared_ptr<grpc::Channel> model_channel_, tokenizer_channel_;
  std::unique_ptr<v1::ModelService::Stub> model_;
  std::unique_ptr<v1::TokenizerService::Stub> tokenizer_;
};

// "UNAVAILABLE" and so on.
std::string_view NameOf(grpc::StatusCode code);

// A line on stderr, after what stdout has got.
void Tell(const std::string& line);

// Tells of `status` in one line on stderr. Returns the program's exit code: 1, or that of Ctrl-C
// where it is why the call ended. REQUIRES: !status.ok().
int ReportFailure(const grpc::Status& status);

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_CONNECTION_H_
