#include "services/cli/connection.h"

#include <cstdio>

#include "services/cli/client_flags.h"

namespace kvasir::cli {
namespace {

constexpr int kMaxModelMessageBytes = 16 << 20;
constexpr int kMaxTokenizerMessageBytes = 64 << 20;

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address, int max_message_bytes) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(max_message_bytes);
  arguments.SetMaxSendMessageSize(max_message_bytes);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

void ServerAddresses::AddModelFlag(CLI::App& app) {
  AddFlag(app, "--model-server", model_server, "HOST:PORT of kvasir-model");
}

void ServerAddresses::AddTokenizerFlag(CLI::App& app) {
  AddFlag(app, "--tokenizer-server", tokenizer_server, "HOST:PORT of kvasir-tokenizer");
}

Connection::Connection(const ServerAddresses& addresses)
    : model_(v1::ModelService::NewStub(OpenChannel(addresses.model_server, kMaxModelMessageBytes))),
      tokenizer_(v1::TokenizerService::NewStub(
          OpenChannel(addresses.tokenizer_server, kMaxTokenizerMessageBytes))) {}

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
