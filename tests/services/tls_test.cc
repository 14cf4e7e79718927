// TLS and mutual TLS, with whole programs and certificates of the openssl program.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kvasir/v1/tokenizer.grpc.pb.h"
#include "tests/services/certificates.h"
#include "tests/services/program.h"

namespace kvasir {
namespace {

using kvasir::testing::Authority;
using kvasir::testing::Program;
using kvasir::testing::ReadAllOf;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// What a client has: files; empty ones it has not.
struct ClientFiles {
  std::string ca, certificate, key;
};

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address, const ClientFiles& files) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ReadAllOf(files.ca);
  if (!files.certificate.empty()) {
    options.pem_cert_chain = ReadAllOf(files.certificate);
    options.pem_private_key = ReadAllOf(files.key);
  }
  return grpc::CreateCustomChannel(address, grpc::SslCredentials(options), arguments);
}

grpc::Status Call(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  v1::GetTokenizerInfoResponse info;
  return v1::TokenizerService::NewStub(channel)->GetTokenizerInfo(&context, {}, &info);
}

class TlsTest : public ::testing::Test {
 protected:
  TlsTest() {
    ours_.Issue("server");
    ours_.Issue("client");
    theirs_.Issue("server");
    theirs_.Issue("client");
  }
  std::vector<std::string> Flags() const {
    return {"--listen=localhost:0", "--metrics=", "--tls-cert=" + ours_.path("server.crt"),
            "--tls-key=" + ours_.path("server.key")};
  }
  std::vector<std::string> MutualFlags() const {
    std::vector<std::string> flags = Flags();
    flags.push_back("--tls-client-ca=" + ours_.ca());
    return flags;
  }
  static ClientFiles Client(const Authority& trusts, const Authority& is) {
    return {trusts.ca(), is.path("client.crt"), is.path("client.key")};
  }

  const Authority ours_, theirs_;
};

TEST_F(TlsTest, ServesWhoTrustsItAndNobodyInPlainText) {
  Program program("kvasir-tokenizer", Flags());
  const std::string address = program.AwaitLine("listening on ");
  const grpc::Status served = Call(ChannelTo(address, {.ca = ours_.ca()}));
  EXPECT_TRUE(served.ok()) << served.error_message();
  EXPECT_EQ(Call(ChannelTo(address, {.ca = theirs_.ca()})).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  // Under a name that its certificate does not have.
  const std::string other = "127.0.0.1" + address.substr(address.rfind(':'));
  EXPECT_EQ(Call(ChannelTo(other, {.ca = ours_.ca()})).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait(), 0);
}

TEST_F(TlsTest, MutualTlsAsksClientsForACertificateOfItsAuthority) {
  Program program("kvasir-tokenizer", MutualFlags());
  const std::string address = program.AwaitLine("listening on ");
  const grpc::Status served = Call(ChannelTo(address, Client(ours_, ours_)));
  EXPECT_TRUE(served.ok()) << served.error_message();
  EXPECT_EQ(Call(ChannelTo(address, {.ca = ours_.ca()})).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(ChannelTo(address, Client(ours_, theirs_))).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

// A renewal, by another authority, of both sides' certificates.
TEST_F(TlsTest, FilesChangeWhileItServes) {
  Program program("kvasir-tokenizer", MutualFlags());
  const std::string address = program.AwaitLine("listening on ");
  const auto before = ChannelTo(address, Client(ours_, ours_));
  ASSERT_TRUE(Call(before).ok());

  for (const char* file : {"server.crt", "server.key", "ca.crt"}) {
    const std::string next = ours_.path("next");
    std::ofstream(next, std::ios::binary) << ReadAllOf(theirs_.path(file));
    std::filesystem::rename(next, ours_.path(file));
  }
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  grpc::Status served;
  while (!(served = Call(ChannelTo(address, Client(theirs_, theirs_)))).ok()) {
    ASSERT_LT(std::chrono::steady_clock::now(), give_up) << served.error_message();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  // A connection that is there stays.
  EXPECT_TRUE(Call(before).ok());
}

TEST_F(TlsTest, FilesThatAreNoGoodAreNamed) {
  const std::string garbage = ours_.path("garbage");
  std::ofstream(garbage) << "-----BEGIN CERTIFICATE-----\nsecret\n-----END CERTIFICATE-----\n";
  const std::string locked = ours_.path("locked.key");
  Program openssl("/usr/bin/openssl", {"pkey", "-in", ours_.path("server.key"), "-aes256",
                                       "-passout", "pass:1234", "-out", locked});
  ASSERT_EQ(openssl.Wait(), 0) << openssl.standard_error();
  const std::string cert = "--tls-cert=" + ours_.path("server.crt");
  const std::string key = "--tls-key=" + ours_.path("server.key");
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{cert}, "--tls-key"},
      {{key}, "--tls-cert"},
      {{"--tls-client-ca=" + ours_.ca()}, "--tls-cert"},
      {{"--tls-cert=/nonexistent", key}, "--tls-cert: /nonexistent"},
      {{"--tls-cert=" + garbage, key}, "--tls-cert: " + garbage},
      {{cert, "--tls-key=" + garbage}, "--tls-key: " + garbage},
      {{cert, "--tls-key=" + locked}, "passphrase"},
      {{cert, "--tls-key=" + theirs_.path("server.key")}, "is not the key of the certificate"},
      {{cert, key, "--tls-client-ca=" + garbage}, "--tls-client-ca: " + garbage},
  };
  for (const auto& [flags, why] : cases) {
    Program program("kvasir-tokenizer", flags);
    EXPECT_EQ(program.Wait(), 1) << why;
    EXPECT_THAT(program.standard_error(), AllOf(HasSubstr(why), Not(HasSubstr("secret"))));
  }
}

TEST_F(TlsTest, ClientsCertificatesAreEnoughForTheNetwork) {
  std::vector<std::string> flags = Flags();
  flags[0] = "--listen=0.0.0.0:0";
  Program open("kvasir-tokenizer", flags);
  EXPECT_EQ(open.Wait(), 1);
  EXPECT_THAT(open.standard_error(), HasSubstr("--insecure"));
  flags = MutualFlags();
  flags[0] = "--listen=0.0.0.0:0";
  Program mutual("kvasir-tokenizer", flags);
  EXPECT_NE(mutual.AwaitLine("listening on "), "");
}

TEST_F(TlsTest, TheClientSpeaksIt) {
  Program tokenizer("kvasir-tokenizer", MutualFlags());
  Program model("kvasir-model", MutualFlags(), {"KVASIR_KV_MEMORY=16MiB"});
  const std::vector<std::string> environment = {
      "KVASIR_TOKENIZER_SERVER=" + tokenizer.AwaitLine("listening on "),
      "KVASIR_MODEL_SERVER=" + model.AwaitLine("listening on "), "KVASIR_RETRY_FOR=0"};
  const auto run = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"generate", "Once", "-n", "3"});
    Program program("kvasir", flags, environment);
    const int code = program.Wait();
    return std::pair(code, program.standard_error());
  };
  const std::string ca = "--tls-ca=" + ours_.ca();
  const std::string cert = "--tls-cert=" + ours_.path("client.crt");
  const std::string key = "--tls-key=" + ours_.path("client.key");
  EXPECT_EQ(run({ca, cert, key}), std::pair(0, std::string()));
  EXPECT_EQ(run({ca}).first, 1);
  EXPECT_EQ(run({}).first, 1);
  EXPECT_EQ(run({"--tls-ca=" + theirs_.ca(), cert, key}).first, 1);
  EXPECT_THAT(run({ca, cert}).second, HasSubstr("--tls-key"));
  EXPECT_THAT(run({"--tls-ca=/nonexistent"}).second, HasSubstr("/nonexistent"));
}

}  // namespace
}  // namespace kvasir
