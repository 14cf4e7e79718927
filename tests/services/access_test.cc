// Who may call, seen at whole programs: keys, and what is not told of them.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kvasir/v1/model.grpc.pb.h"
#include "kvasir/v1/tokenizer.grpc.pb.h"
#include "services/grpc_status.h"
#include "tests/engine/temporary_directory.h"
#include "tests/services/program.h"
#include "tests/services/raw_call.h"

namespace kvasir {
namespace {

using kvasir::testing::CheckHealth;
using kvasir::testing::Health;
using kvasir::testing::Program;
using kvasir::testing::Scrape;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kAnna[] = "the-secret-of-anna";
constexpr char kBob[] = "the-secret-of-bob-x";

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// What a method answers to an empty message; `authorization` empty: no such header.
grpc::Status CallEmpty(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                       const std::string& authorization) {
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  if (!authorization.empty()) context.AddMetadata("authorization", authorization);
  const grpc::Slice nothing;
  const grpc::ByteBuffer request(&nothing, 1);
  const auto call = stub.PrepareUnaryCall(&context, method, request, &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  EXPECT_TRUE(queue.Next(&tag, &ok));
  return status;
}

std::vector<std::string> MethodsOf(const google::protobuf::Descriptor& message) {
  const google::protobuf::ServiceDescriptor& service = *message.file()->service(0);
  std::vector<std::string> methods;
  for (int i = 0; i < service.method_count(); ++i) {
    methods.push_back("/" + service.full_name() + "/" + service.method(i)->name());
  }
  return methods;
}

class AccessTest : public ::testing::Test {
 protected:
  AccessTest() { WriteKeys(std::string("anna ") + kAnna + "\nbob " + kBob + "\n"); }

  void WriteKeys(const std::string& text) {
    std::ofstream(keys_ + ".next") << text;
    std::filesystem::rename(keys_ + ".next", keys_);
  }
  std::vector<std::string> Flags() const {
    return {"--listen=127.0.0.1:0", "--metrics=127.0.0.1:0", "--api-keys=" + keys_};
  }

  testing::TemporaryDirectory folder_;
  const std::string keys_ = (folder_.path() / "keys").string();
};

TEST_F(AccessTest, NoRpcIsAnsweredWithoutAKey) {
  const std::pair<const char*, std::vector<std::string>> services[] = {
      {"kvasir-model", MethodsOf(*v1::GenerateRequest::descriptor())},
      {"kvasir-tokenizer", MethodsOf(*v1::EncodeRequest::descriptor())}};
  for (const auto& [name, methods] : services) {
    Program program(name, Flags(), {"KVASIR_KV_MEMORY=16MiB"});
    const std::string metrics = program.AwaitLine("metrics on ");
    const auto channel = ChannelTo(program.AwaitLine("listening on "));
    EXPECT_GE(methods.size(), 5);
    for (const std::string& method : methods) {
      for (const std::string& header : {std::string(), std::string("Bearer the-secret-of-nobody"),
                                        std::string(kAnna), std::string("Basic ") + kAnna}) {
        const grpc::Status status = CallEmpty(channel, method, header);
        EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << method;
        EXPECT_THAT(status.error_message(),
                    AllOf(HasSubstr("authorization: "), Not(HasSubstr("secret"))));
      }
      const grpc::Status status = CallEmpty(channel, method, std::string("Bearer ") + kAnna);
      EXPECT_NE(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << method;
    }
    // What says nothing secret needs no key.
    EXPECT_EQ(CheckHealth(channel), Health::kServing);
    const std::string page = Scrape(metrics);
    EXPECT_THAT(page, HasSubstr("code=\"UNAUTHENTICATED\""));
    EXPECT_THAT(page, Not(HasSubstr("secret")));

    program.Signal(SIGTERM);
    EXPECT_EQ(program.Wait(), 0);
    const std::string said = program.standard_error();
    EXPECT_THAT(said, AllOf(HasSubstr("tenant=anna"), HasSubstr("code=UNAUTHENTICATED")));
    EXPECT_THAT(said, Not(HasSubstr("secret")));
  }
}

TEST_F(AccessTest, KeysChangeWhileItServes) {
  Program program("kvasir-tokenizer", Flags());
  const auto channel = ChannelTo(program.AwaitLine("listening on "));
  const std::string method = MethodsOf(*v1::EncodeRequest::descriptor()).front();
  const auto code = [&](const std::string& key) {
    return CallEmpty(channel, method, "Bearer " + key).error_code();
  };
  EXPECT_EQ(code(kBob), grpc::StatusCode::OK);
  WriteKeys(std::string("anna ") + kAnna + "\n");
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (code(kBob) != grpc::StatusCode::UNAUTHENTICATED) {
    ASSERT_LT(std::chrono::steady_clock::now(), give_up);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // a full log loses lines
  }
  EXPECT_EQ(code(kAnna), grpc::StatusCode::OK);
  program.Signal(SIGTERM);
  program.Wait();
  EXPECT_THAT(program.standard_error(),
              AllOf(HasSubstr(keys_), HasSubstr("read anew"), Not(HasSubstr("secret"))));
}

TEST_F(AccessTest, TheNetworkIsServedOnlyWithKeysOrOnPurpose) {
  for (const char* name : {"kvasir-model", "kvasir-tokenizer"}) {
    for (const char* listen : {"0.0.0.0:0", "[::]:0", "192.0.2.1:0", "somewhere.example:0"}) {
      Program program(name, {"--listen=" + std::string(listen), "--metrics="});
      EXPECT_EQ(program.Wait(), 1);
      EXPECT_THAT(program.standard_error(),
                  AllOf(HasSubstr(listen), HasSubstr("--api-keys"), HasSubstr("--insecure")));
    }
  }
  for (const char* listen : {"127.0.0.1:0", "[::1]:0", "localhost:0", "127.1.2.3:0"}) {
    Program program("kvasir-tokenizer", {"--listen=" + std::string(listen), "--metrics="});
    EXPECT_NE(program.AwaitLine("listening on "), "") << listen;
    program.Signal(SIGTERM);
    EXPECT_EQ(program.Wait(), 0);
    EXPECT_THAT(program.standard_error(), Not(HasSubstr("insecure")));
  }
  for (const std::string& flag : {std::string("--insecure"), "--api-keys=" + keys_}) {
    Program program("kvasir-tokenizer", {"--listen=0.0.0.0:0", "--metrics=", flag});
    EXPECT_NE(program.AwaitLine("listening on "), "");
    program.Signal(SIGTERM);
    EXPECT_EQ(program.Wait(), 0);
    if (flag == "--insecure") {
      EXPECT_THAT(program.standard_error(), HasSubstr("no key is asked for"));
    } else {
      EXPECT_THAT(program.standard_error(), Not(HasSubstr("no key is asked for")));
    }
  }
  // Also by the environment.
  Program program("kvasir-tokenizer", {"--listen=0.0.0.0:0", "--metrics="},
                  {"KVASIR_API_KEYS=/nonexistent"});
  EXPECT_EQ(program.Wait(), 1);
  EXPECT_THAT(program.standard_error(), HasSubstr("--api-keys: /nonexistent: cannot be read"));
}

// Made like those of jwt_test; they expire in the year 5138.
constexpr char kTokenKeys[] =
    R"({"keys":[{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]})";
constexpr char kAnnasToken[] =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm5hIiwiYXVkIjoia3Zhc2lyIiwiZXh"
    "wIjo5OTk5OTk5OTk5OX0.py6oyvCK_xfqfA8KjU8aR51l4MWFvF4bA4INNrXMQTM";

TEST_F(AccessTest, TokensOpenToo) {
  const std::string file = (folder_.path() / "jwks").string();
  std::ofstream(file) << kTokenKeys;
  {
    Program program("kvasir-tokenizer", {"--jwt-keys=" + file});
    EXPECT_EQ(program.Wait(), 1);
    EXPECT_THAT(program.standard_error(), HasSubstr("--jwt-audience"));
  }
  std::vector<std::string> flags = Flags();
  flags.insert(flags.end(), {"--jwt-keys=" + file, "--jwt-audience=kvasir"});
  Program program("kvasir-tokenizer", flags);
  const auto channel = ChannelTo(program.AwaitLine("listening on "));
  const std::string method = MethodsOf(*v1::EncodeRequest::descriptor()).front();
  const std::string token = std::string("Bearer ") + kAnnasToken;
  EXPECT_TRUE(CallEmpty(channel, method, std::string("Bearer ") + kBob).ok());
  EXPECT_TRUE(CallEmpty(channel, method, token).ok());
  const grpc::Status cut = CallEmpty(channel, method, token.substr(0, token.size() - 2));
  EXPECT_EQ(cut.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(cut.error_message(), HasSubstr("the token is not"));
  EXPECT_THAT(CallEmpty(channel, method, "Bearer the-secret-of-nobody").error_message(),
              HasSubstr("the key is not known"));
  program.Signal(SIGTERM);
  program.Wait();
  EXPECT_THAT(program.standard_error(), AllOf(HasSubstr("tenant=anna"), HasSubstr("tenant=bob"),
                                              Not(HasSubstr(kAnnasToken))));
}

// Over two calls a minute a tenant waits, and others do not.
TEST_F(AccessTest, QuotasAreEachTenantsOwn) {
  std::vector<std::string> flags = Flags();
  flags.insert(flags.end(), {"--max-requests-per-minute=2", "--log-level=error"});
  Program program("kvasir-tokenizer", flags);
  const auto channel = ChannelTo(program.AwaitLine("listening on "));
  const std::string method = MethodsOf(*v1::EncodeRequest::descriptor()).front();
  const auto call = [&](const char* key) {
    return CallEmpty(channel, method, std::string("Bearer ") + key);
  };
  EXPECT_TRUE(call(kAnna).ok());
  EXPECT_TRUE(call(kAnna).ok());
  const grpc::Status over = call(kAnna);
  EXPECT_EQ(over.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  const ErrorDetail detail = DetailOf(over);
  EXPECT_EQ(detail.reason, "QUOTA");
  EXPECT_EQ(detail.metadata.at("limit"), "2");
  ASSERT_TRUE(detail.retry_after.has_value());
  EXPECT_GT(*detail.retry_after, absl::Seconds(1));
  EXPECT_LE(*detail.retry_after, absl::Seconds(31));
  EXPECT_TRUE(call(kBob).ok());
}

TEST_F(AccessTest, TheClientShowsItsKey) {
  Program tokenizer("kvasir-tokenizer", Flags());
  Program model("kvasir-model", Flags(), {"KVASIR_KV_MEMORY=16MiB"});
  const std::vector<std::string> servers = {
      "KVASIR_TOKENIZER_SERVER=" + tokenizer.AwaitLine("listening on "),
      "KVASIR_MODEL_SERVER=" + model.AwaitLine("listening on ")};
  struct Ended {
    int code;
    std::string output, error;
  };
  const auto run = [&](const std::vector<std::string>& arguments, const std::string& key) {
    std::vector<std::string> environment = servers;
    if (!key.empty()) environment.push_back("KVASIR_API_KEY=" + key);
    Program program("kvasir", arguments, environment);
    const int code = program.Wait();
    return Ended{code, program.standard_output(), program.standard_error()};
  };
  const std::vector<std::string> generate = {"generate", "Once", "-n", "3"};
  EXPECT_THAT(run(generate, "").error, HasSubstr("UNAUTHENTICATED: authorization"));
  EXPECT_EQ(run(generate, kAnna).code, 0);
  EXPECT_EQ(run({"generate", "Once", "-n", "3", "--api-key=" + std::string(kBob)}, "").code, 0);
  EXPECT_EQ(run({"sessions", "list"}, kAnna).code, 0);
  // Help shows no key of the environment's.
  EXPECT_THAT(run({"generate", "--help"}, kAnna).output,
              AllOf(HasSubstr("--api-key"), Not(HasSubstr(kAnna))));
}

}  // namespace
}  // namespace kvasir
