// `kvasir pull` as a whole program, and the programs that find what it pulled by its name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "services/cli/pull_display.h"
#include "tests/engine/temporary_directory.h"
#include "tests/services/hub/hub_server.h"
#include "tests/services/hub/small_hub_model.h"
#include "tests/services/program.h"

namespace kvasir {
namespace {

namespace fs = std::filesystem;
using kvasir::testing::HubReply;
using kvasir::testing::HubRequest;
using kvasir::testing::HubServer;
using kvasir::testing::Program;
using kvasir::testing::TextOf;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kModel[] = "Acme/Small";

// models/tiny, as a hub has it.
std::map<std::string, HubServer::File> TinyHubModel() {
  std::map<std::string, HubServer::File> files;
  for (const auto& entry : fs::directory_iterator(KVASIR_SOURCE_DIR "/models/tiny")) {
    const std::string name = entry.path().filename().string();
    const bool large = name.ends_with(".safetensors") || name == "tokenizer.json";
    if (entry.is_regular_file()) files[name] = {TextOf(entry.path()), large};
  }
  return files;
}

class PullCommandTest : public ::testing::Test {
 protected:
  struct Outcome {
    int exit_code = 0;
    std::string output, error;
  };

  std::vector<std::string> Environment() const {
    return {"HF_ENDPOINT=" + server_.endpoint(), "HF_HOME=" + directory_.path().string(),
            "HF_TOKEN=hf_secret", "KVASIR_REDIRECT_HOSTS=hf.co,127.0.0.2"};
  }
  Outcome Finish(Program& program) const {
    Outcome outcome;
    outcome.exit_code = program.Wait();
    outcome.output = program.standard_output();
    outcome.error = program.standard_error();
    EXPECT_THAT(outcome.output + outcome.error,
                AllOf(Not(HasSubstr("\033")), Not(HasSubstr("\r")), Not(HasSubstr("hf_secret"))));
    return outcome;
  }
  Outcome Run(const std::string& name, const std::vector<std::string>& arguments) const {
    Program program(name, arguments, Environment());
    return Finish(program);
  }

  // One line on stderr, and nothing else.
  void ExpectFails(const std::string& name, const std::vector<std::string>& arguments,
                   const std::string& begin, const std::string& words) const {
    const Outcome outcome = Run(name, arguments);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(outcome.output, "");
    EXPECT_THAT(outcome.error, AllOf(StartsWith(begin), HasSubstr(words), EndsWith("\n")));
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
  }

  fs::path Hub() const { return directory_.path() / "hub"; }
  std::string Snapshot() const { return Hub() / "models--Acme--Small" / "snapshots" / commit_; }

  HubServer server_;
  const testing::TemporaryDirectory directory_;
  const std::string commit_ = server_.Commit(TinyHubModel());
};

TEST_F(PullCommandTest, PrintsTheFolderAndTellsWhatCame) {
  Outcome outcome = Run("kvasir", {"pull", kModel});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_EQ(outcome.output, Snapshot() + "\n");
  EXPECT_THAT(outcome.error,
              MatchesRegex("Acme/Small at main: 5 files, [0-9.]+ MB, of which [0-9.]+ MB came now, "
                           "[0-9.]+ [kMG]B/s\n"));
  outcome = Run("kvasir", {"pull", kModel});
  EXPECT_EQ(outcome.output, Snapshot() + "\n");
  EXPECT_THAT(outcome.error, EndsWith(" MB, all there\n"));
  outcome = Run("kvasir", {"pull", kModel, "--revision=" + commit_});
  EXPECT_EQ(outcome.error, "Acme/Small at " + commit_ + ": all files were there\n");

  const std::string folder = directory_.path() / "model";
  outcome = Run("kvasir", {"pull", kModel, "--dir=" + folder});
  EXPECT_EQ(outcome.output, folder + "\n");
  EXPECT_THAT(Run("kvasir", {"pull", kModel, "--dir=" + folder, "--json"}).output,
              HasSubstr("\"folder\":\"" + folder + "\""));
  EXPECT_EQ(TextOf(folder + "/config.json"), TinyHubModel().at("config.json").content);
}

TEST_F(PullCommandTest, MistakesAreNamed) {
  ExpectFails("kvasir", {"pull"}, "kvasir: ", "model");
  ExpectFails("kvasir", {"pull", "gpt2"}, "kvasir: INVALID_ARGUMENT: 'gpt2'", "ORGANIZATION/NAME");
  ExpectFails("kvasir", {"pull", kModel, "--revision=../x"},
              "kvasir: INVALID_ARGUMENT: ", "'../x'");
  ExpectFails("kvasir", {"pull", kModel, "--redirect-hosts=https://x"},
              "kvasir: INVALID_ARGUMENT: ", "--redirect-hosts: 'https://x'");
  ExpectFails("kvasir", {"pull", kModel, "--redirect-hosts=hf.co"},
              "kvasir: PERMISSION_DENIED: ", "127.0.0.2");
  ExpectFails("kvasir", {"pull", "Acme/Other"}, "kvasir: NOT_FOUND: ", "no such model");
}

TEST_F(PullCommandTest, AnInterruptedPullGoesOn) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string hash = server_.HashOf("model.safetensors");
    server_.OnReply([&](const HubRequest& request, HubReply& reply) {
      if (request.method != "GET" || request.target.find(hash) == std::string::npos) return;
      reply.stall = request.to_content_server;
      reply.send_at_most = 500'000;
    });
    const fs::path incomplete = Hub() / "models--Acme--Small" / "blobs" / (hash + ".incomplete");
    std::error_code none;
    const uintmax_t before = fs::exists(incomplete) ? fs::file_size(incomplete) : 0;
    Program program("kvasir", {"pull", kModel}, Environment());
    while (!fs::exists(incomplete, none) || fs::file_size(incomplete, none) < before + 500'000) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    program.Signal(signal);
    const Outcome outcome = Finish(program);
    EXPECT_EQ(outcome.exit_code, 130);
    EXPECT_EQ(outcome.output, "");
    EXPECT_EQ(outcome.error,
              "kvasir: CANCELLED: interrupted; the same command goes on from here\n");
    EXPECT_FALSE(fs::exists(Snapshot()));
  }
  server_.OnReply(nullptr);
  server_.Forget();
  EXPECT_EQ(Run("kvasir", {"pull", kModel}).exit_code, 0);
  for (const HubRequest& request : server_.requests()) {
    if (request.method == "GET" && request.to_content_server) {
      EXPECT_EQ(request.Header("range"), "bytes=1000000-");
    }
  }
}

TEST_F(PullCommandTest, ServicesFindAModelByItsName) {
  const std::string hint = "`kvasir pull Acme/Small` fetches it";
  const std::vector<std::string> serve = {"--model=Acme/Small", "--listen=127.0.0.1:0",
                                          "--metrics="};
  for (const char* name : {"kvasir-model", "kvasir-tokenizer"}) {
    ExpectFails(name, serve, absl::StrCat(name, ": --model=Acme/Small: "), hint);
  }
  ExpectFails("kvasir", {"bench", "--model=Acme/Small"}, "kvasir: --model=Acme/Small: ", hint);

  ASSERT_EQ(Run("kvasir", {"pull", kModel}).exit_code, 0);
  for (const char* name : {"kvasir-model", "kvasir-tokenizer"}) {
    for (const std::string& model : {std::string(kModel), "Acme/Small@" + commit_, Snapshot()}) {
      std::vector<std::string> arguments = serve;
      arguments[0] = "--model=" + model;
      if (name == std::string("kvasir-model")) arguments.emplace_back("--kv-memory=16MiB");
      Program program(name, arguments, Environment());
      EXPECT_NE(program.AwaitLine("listening on "), "");
      program.Signal(SIGTERM);
      EXPECT_EQ(program.Wait(), 0);
      EXPECT_THAT(program.standard_error(),
                  HasSubstr(absl::StrCat(name + std::strlen("kvasir-"), " Acme/Small (")));
    }
  }
}

TEST(PullDisplay, SizesAreRead) {
  EXPECT_EQ(cli::BytesText(0), "0.0 kB");
  EXPECT_EQ(cli::BytesText(1'500), "1.5 kB");
  EXPECT_EQ(cli::BytesText(25'000'000), "25.0 MB");
  EXPECT_EQ(cli::BytesText(8'044'936'192), "8.04 GB");
  EXPECT_EQ(cli::BytesText(2e12), "2000.00 GB");
}

TEST(PullDisplay, ABarOnATerminal) {
  int terminal, end;
  ASSERT_EQ(openpty(&terminal, &end, nullptr, nullptr, nullptr), 0);
  const int standard_error = dup(STDERR_FILENO);
  dup2(end, STDERR_FILENO);
  {
    cli::PullDisplay display;
    std::this_thread::sleep_for(std::chrono::milliseconds(120));
    display.Show(6'000'000'000, 8'000'000'000, 1'000'000);
    display.Tell("a line");
  }
  dup2(standard_error, STDERR_FILENO);
  close(standard_error);
  char text[4096];
  const ssize_t size = read(terminal, text, sizeof text);
  close(end);
  close(terminal);
  EXPECT_THAT(
      std::string(text, static_cast<size_t>(std::max<ssize_t>(size, 0))),
      MatchesRegex(
          "\rpulling \\[######################\\.\\.\\.\\.\\.\\.\\.\\.\\]  75 %  6\\.00 GB of "
          "8\\.00 GB  [0-9.]+ MB/s  [0-9:]+ left\033\\[K\r\033\\[Ka line\r\n"));
}

}  // namespace
}  // namespace kvasir
