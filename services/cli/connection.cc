#include "services/cli/connection.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <utility>
#include <vector>

#include "services/cli/client_flags.h"

namespace kvasir::cli {
namespace {

constexpr int kMaxModelMessageBytes = 16 << 20;
constexpr int kMaxTokenizerMessageBytes = 64 << 20;
constexpr double kMaxRetrySeconds = 1e6;
constexpr int kReconnectMilliseconds = 100;
// A host that does not answer at all.
constexpr int kConnectMilliseconds = 5'000;
// A server that hangs, or whose machine is gone, is noticed while it is silent; the services allow
// a client to ask every 10 s.
constexpr int kKeepaliveMilliseconds = 20'000;
constexpr int kKeepaliveAnswerMilliseconds = 10'000;

// Shows the key with every call: gRPC's own credentials do so over TLS alone.
class KeyInterceptor final : public grpc::experimental::Interceptor {
 public:
  explicit KeyInterceptor(const std::string& key) : header_("Bearer " + key) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using Point = grpc::experimental::InterceptionHookPoints;
    if (methods->QueryInterceptionHookPoint(Point::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->insert({"authorization", header_});
    }
    methods->Proceed();
  }

 private:
  const std::string header_;
};

class KeyInterceptors final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit KeyInterceptors(std::string key) : key_(std::move(key)) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return new KeyInterceptor(key_);
  }

 private:
  const std::string key_;
};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const ConnectionFlags& flags) {
  if (flags.tls_ca.empty()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ReadFile(flags.tls_ca);
  if (!flags.tls_certificate.empty()) {
    options.pem_cert_chain = ReadFile(flags.tls_certificate);
    options.pem_private_key = ReadFile(flags.tls_key);
  }
  return grpc::SslCredentials(options);
}

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address, const ConnectionFlags& flags,
                                           int max_message_bytes) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(max_message_bytes);
  arguments.SetMaxSendMessageSize(max_message_bytes);
  // How often we try is Retries' to say: a channel must not wait for minutes by itself.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMilliseconds);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMilliseconds);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectMilliseconds);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMilliseconds);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveAnswerMilliseconds);
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  if (!flags.api_key.empty()) {
    interceptors.push_back(std::make_unique<KeyInterceptors>(flags.api_key));
  }
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      address, CredentialsOf(flags), arguments, std::move(interceptors));
}

}  // namespace

void ConnectionFlags::AddModelFlag(CLI::App& app) {
  AddModelServerFlag(app);
  AddFlag(app, "--retry-for", retry_for,
          "Seconds for which a server that cannot be reached is tried again; 0: never. No turn is "
          "appended twice")
      ->check(CLI::Range(0.0, kMaxRetrySeconds));
  AddFlag(app, "--api-key", api_key,
          "Key that the services ask for; whoever lists processes sees it here, not in the "
          "environment");
}

void ConnectionFlags::AddModelServerFlag(CLI::App& app) {
  AddFlag(app, "--model-server", model_server, "HOST:PORT of kvasir-model");
  AddFlag(app, "--tls-ca", tls_ca,
          "File with authorities in PEM, one of which vouches for the services: TLS")
      ->check(CLI::ExistingFile);
  CLI::Option* certificate = AddFlag(app, "--tls-cert", tls_certificate,
                                     "File with our certificate, for services that ask for one")
                                 ->check(CLI::ExistingFile);
  CLI::Option* key =
      AddFlag(app, "--tls-key", tls_key, "File with its key")->check(CLI::ExistingFile);
  certificate->needs(key);
  key->needs(certificate);
}

void ConnectionFlags::AddTokenizerFlag(CLI::App& app) {
  AddFlag(app, "--tokenizer-server", tokenizer_server, "HOST:PORT of kvasir-tokenizer");
}

Connection::Connection(const ConnectionFlags& flags)
    : retries_(std::chrono::duration_cast<Retries::Clock::duration>(
                   std::chrono::duration<double>(flags.retry_for)),
               {.now = Retries::Clock::now,
                .sleep = [](Retries::Clock::duration time) { Interrupts::Get().Wait(time); },
                .tell = Tell}),
      model_channel_(OpenChannel(flags.model_server, flags, kMaxModelMessageBytes)),
      tokenizer_channel_(OpenChannel(flags.tokenizer_server, flags, kMaxTokenizerMessageBytes)),
      model_(v1::ModelService::NewStub(model_channel_)),
      tokenizer_(v1::TokenizerService::NewStub(tokenizer_channel_)) {}

grpc::Status Connection::Encode(std::string_view text, TokenIds& ids) {
  v1::EncodeRequest request;
  request.set_data(std::string(text));
  v1::EncodeResponse response;
  grpc::Status status = Call(tokenizer(), &v1::TokenizerService::Stub::Encode, request, response);
  ids.assign(response.ids().begin(), response.ids().end());
  return status;
}

grpc::Status Connection::Decode(const TokenIds& ids, std::string& text) {
  v1::DecodeRequest request;
  request.mutable_ids()->Add(ids.begin(), ids.end());
  v1::DecodeResponse response;
  grpc::Status status = Call(tokenizer(), &v1::TokenizerService::Stub::Decode, request, response);
  text = response.text();
  return status;
}

std::string_view NameOf(grpc::StatusCode code) {
  static constexpr std::string_view kNames[] = {"OK",
                                                "CANCELLED",
                                                "UNKNOWN",
                                                "INVALID_ARGUMENT",
                                                "DEADLINE_EXCEEDED",
                                                "NOT_FOUND",
                                                "ALREADY_EXISTS",
                                                "PERMISSION_DENIED",
                                                "RESOURCE_EXHAUSTED",
                                                "FAILED_PRECONDITION",
                                                "ABORTED",
                                                "OUT_OF_RANGE",
                                                "UNIMPLEMENTED",
                                                "INTERNAL",
                                                "UNAVAILABLE",
                                                "DATA_LOSS",
                                                "UNAUTHENTICATED"};
  return code >= 0 && code < static_cast<int>(std::size(kNames)) ? kNames[code] : "UNKNOWN";
}

void Tell(const std::string& line) {
  std::fflush(stdout);
  // Not behind the text of an answer that is being shown.
  const bool shared = isatty(STDOUT_FILENO) != 0 && isatty(STDERR_FILENO) != 0;
  std::fprintf(stderr, "%skvasir: %s\n", shared ? "\n" : "", line.c_str());
}

int ReportFailure(const grpc::Status& status) {
  std::fflush(stdout);
  if (status.error_code() == grpc::StatusCode::CANCELLED && Interrupts::Get().pending()) {
    std::fputs("kvasir: CANCELLED: interrupted\n", stderr);
    return Interrupts::kExitCode;
  }
  std::fprintf(stderr, "kvasir: %s: %s\n", std::string(NameOf(status.error_code())).c_str(),
               status.error_message().c_str());
  return 1;
}

}  // namespace kvasir::cli
