// `kvasir` as a whole program while its model server is killed and comes back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <csignal>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/engine/temporary_directory.h"
#include "tests/services/program.h"

namespace kvasir {
namespace {

using kvasir::testing::Program;
using kvasir::testing::TemporaryDirectory;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int kTokens = 1500;

class Outage : public ::testing::TestWithParam<std::string> {
 protected:
  Outage() {
    StartModel("127.0.0.1:0");
    address_ = model_->AwaitLine("listening on ");
  }

  void StartModel(const std::string& listen) {
    model_ = std::make_unique<Program>(
        "kvasir-model",
        std::vector<std::string>{"--listen=" + listen, "--metrics=", "--log-level=error",
                                 "--kv-memory=64MiB", "--durability=" + GetParam(),
                                 "--session-store=sqlite:" + (directory_.path() / "s").string()});
  }

  // The server dies in the midst of what `client` shows, and comes back.
  void KillDuring(Program& client) {
    client.AwaitOutput();
    model_->Signal(SIGKILL);
    model_->Wait();
    StartModel(address_);
  }

  std::unique_ptr<Program> Start(const std::vector<std::string>& arguments,
                                 const std::string& input = "") const {
    return std::make_unique<Program>(
        "kvasir", arguments,
        std::vector<std::string>{"KVASIR_MODEL_SERVER=" + address_,
                                 "KVASIR_TOKENIZER_SERVER=" + tokenizer_address_},
        input);
  }

  static std::vector<std::string> Story(const std::string& session) {
    return {"generate",
            "Once upon a time",
            "--session=" + session,
            "--create",
            "--seed=7",
            "--ignore-eos",
            "--ids",
            "-n",
            std::to_string(kTokens)};
  }

  std::string Output(const std::vector<std::string>& arguments) const {
    const std::unique_ptr<Program> program = Start(arguments);
    EXPECT_EQ(program->Wait(), 0) << program->standard_error();
    return program->standard_output();
  }

  std::string Length(const std::string& session) const {
    rapidjson::Document document;
    document.Parse(Output({"sessions", "show", session, "--json"}).c_str());
    return document["length"].GetString();
  }

  TemporaryDirectory directory_;
  Program tokenizer_{"kvasir-tokenizer",
                     {"--listen=127.0.0.1:0", "--metrics=", "--log-level=error"}};
  const std::string tokenizer_address_ = tokenizer_.AwaitLine("listening on ");
  std::unique_ptr<Program> model_;
  std::string address_;
};

TEST_P(Outage, ATurnGoesOnWhenTheServerIsBack) {
  const std::unique_ptr<Program> client = Start(Story("cut"));
  KillDuring(*client);
  EXPECT_EQ(client->Wait(), 0) << client->standard_error();
  EXPECT_EQ(client->standard_output(), Output(Story("undisturbed")));
  EXPECT_EQ(Length("cut"), Length("undisturbed"));
  EXPECT_THAT(client->standard_error(), ::testing::Not(HasSubstr("warning")));
}

TEST_P(Outage, AChatGoesOnWhenTheServerIsBack) {
  const std::string messages = "My name is Olga.\nWhat is my name?\nTell me more.\n";
  const auto arguments = [](const std::string& session) {
    return std::vector<std::string>{"chat", "--session=" + session, "--temperature=0", "-n",
                                    "200",  "--ignore-eos"};
  };
  const std::unique_ptr<Program> client = Start(arguments("cut"), messages);
  KillDuring(*client);
  EXPECT_EQ(client->Wait(), 0) << client->standard_error();
  const std::unique_ptr<Program> undisturbed = Start(arguments("undisturbed"), messages);
  EXPECT_EQ(undisturbed->Wait(), 0) << undisturbed->standard_error();
  EXPECT_EQ(client->standard_output(), undisturbed->standard_output());
  EXPECT_EQ(Length("cut"), Length("undisturbed"));
}

TEST_P(Outage, WithoutRetriesATurnEndsWithTheServer) {
  std::vector<std::string> arguments = Story("cut");
  arguments.emplace_back("--retry-for=0");
  const std::unique_ptr<Program> client = Start(arguments);
  KillDuring(*client);
  EXPECT_EQ(client->Wait(), 1) << "the kill came too late to show anything";
  EXPECT_THAT(client->standard_error(), StartsWith("kvasir: UNAVAILABLE: "));
}

INSTANTIATE_TEST_SUITE_P(Durability, Outage, ::testing::Values("turn", "token", "none"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace kvasir
