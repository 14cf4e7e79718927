// kvasir-model and kvasir-tokenizer as whole programs: flags, addresses, health, reflection,
// metrics, how they stop and why they do not start.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "kvasir/v1/tokenizer.grpc.pb.h"
#include "services/grpc_status.h"
#include "tests/engine/temporary_directory.h"
#include "tests/services/model_server.h"
#include "tests/services/program.h"
#include "tests/services/raw_call.h"
#include "tests/services/refusal.h"

namespace kvasir {
namespace {

using kvasir::testing::AskFor;
using kvasir::testing::CheckHealth;
using kvasir::testing::CreateWith;
using kvasir::testing::ExpectRefused;
using kvasir::testing::Generate;
using kvasir::testing::Health;
using kvasir::testing::Ids;
using kvasir::testing::Program;
using kvasir::testing::RawCall;
using kvasir::testing::Scrape;
using kvasir::testing::SomeIds;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const char* const kPrograms[] = {"kvasir-model", "kvasir-tokenizer"};
const std::vector<std::string> kAnyPorts = {"--listen=127.0.0.1:0", "--metrics=127.0.0.1:0",
                                            "--log-level=error"};

std::vector<std::string> With(std::vector<std::string> flags, const std::string& flag) {
  flags.push_back(flag);
  return flags;
}

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// The value of a metric's line that begins with `series`; -1 where there is none.
double MetricOf(const std::string& text, const std::string& series) {
  const size_t begin = ("\n" + text).find("\n" + series + " ");
  if (begin == std::string::npos) return -1;
  return std::stod(text.substr(begin + series.size() + 1));
}

// A call is counted once its answer has been sent, which its client may see first: scrapes until
// the series has the value, which is a failure where it does not come to it.
std::string ScrapeUntil(const std::string& metrics, const std::string& series, double value) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (true) {
    std::string text = Scrape(metrics);
    if (MetricOf(text, series) == value) return text;
    if (std::chrono::steady_clock::now() > until) {
      EXPECT_EQ(MetricOf(text, series), value) << series;
      return text;
    }
  }
}

// --- flags --------------------------------------------------------------------------------------

TEST(Flags, HelpShowsEveryFlagItsVariableAndExamples) {
  for (const char* name : kPrograms) {
    Program program(name, {"--help"});
    EXPECT_EQ(program.Wait(), 0);
    EXPECT_EQ(program.standard_error(), "");
    for (const char* flag : {"--listen", "--model", "--metrics", "--threads", "--log-level",
                             "--log-format", "--log-prompts", "--otlp-endpoint", "--version",
                             "KVASIR_LISTEN", "KVASIR_LOG_LEVEL", "Examples:"}) {
      EXPECT_THAT(program.standard_output(), HasSubstr(flag)) << name;
    }
  }
  Program program("kvasir-model", {"--help"});
  program.Wait();
  for (const char* flag :
       {"--dtype", "--device", "--kv-memory", "--kv-host-memory", "--max-queue", "--max-running",
        "--max-step-tokens", "--cpu-kernel", "KVASIR_KV_MEMORY"}) {
    EXPECT_THAT(program.standard_output(), HasSubstr(flag));
  }
}

TEST(Flags, AChatTemplateOfOnesOwn) {
  const testing::TemporaryDirectory folder;
  const std::string good = (folder.path() / "good.jinja").string();
  const std::string bad = (folder.path() / "bad.jinja").string();
  std::ofstream(good) << "{{ messages[0].content }}!";
  std::ofstream(bad) << "a\n  {% include 'x' %}";
  Program program("kvasir-tokenizer", With(kAnyPorts, "--chat-template=" + good));
  const auto stub = v1::TokenizerService::NewStub(ChannelTo(program.AwaitLine("listening on ")));
  v1::ApplyChatTemplateRequest request;
  request.add_messages()->set_content("Hello");
  grpc::ClientContext context;
  v1::ApplyChatTemplateResponse response;
  ASSERT_TRUE(stub->ApplyChatTemplate(&context, request, &response).ok());
  EXPECT_EQ(response.text(), "Hello!");
  grpc::ClientContext info_context;
  v1::GetTokenizerInfoResponse info;
  ASSERT_TRUE(stub->GetTokenizerInfo(&info_context, {}, &info).ok());
  EXPECT_EQ(info.chat_template(), "{{ messages[0].content }}!");
  for (const auto& [file, words] : std::vector<std::pair<std::string, std::string>>{
           {bad, bad + ": unusable chat template: line 2, column 6: the statement 'include'"},
           {"/nonexistent", "--chat-template"}}) {
    Program refused("kvasir-tokenizer", With(kAnyPorts, "--chat-template=" + file));
    EXPECT_EQ(refused.Wait(), 1);
    EXPECT_THAT(refused.standard_error(), HasSubstr(words));
  }
}

TEST(Flags, Version) {
  for (const char* name : kPrograms) {
    Program program(name, {"--version"});
    EXPECT_EQ(program.Wait(), 0);
    EXPECT_EQ(program.standard_output(), std::string(name) + " " + KVASIR_VERSION + "\n");
  }
}

// One line on stderr that names the program and `words`; nothing on stdout; exit code 1.
void ExpectRefusesToStart(const std::string& name, const std::vector<std::string>& arguments,
                          const std::vector<std::string>& words,
                          const std::vector<std::string>& environment = {}) {
  Program program(name, arguments, environment);
  EXPECT_EQ(program.Wait(), 1);
  const std::string& error = program.standard_error();
  EXPECT_THAT(error, AllOf(StartsWith(name + ": "), EndsWith("\n")));
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
  for (const std::string& word : words) EXPECT_THAT(error, HasSubstr(word));
  EXPECT_THAT(program.standard_output(), Not(HasSubstr("listening")));
}

TEST(Flags, BadOnesAreNamed) {
  for (const char* name : kPrograms) {
    ExpectRefusesToStart(name, {"--nonsense"}, {"--nonsense"});
    ExpectRefusesToStart(name, {"positional"}, {"positional"});
    ExpectRefusesToStart(name, {"--threads=-1"}, {"--threads", "-1"});
    ExpectRefusesToStart(name, {"--threads=many"}, {"--threads", "many"});
    ExpectRefusesToStart(name, {"--log-level=loud"}, {"--log-level", "loud"});
    ExpectRefusesToStart(name, {"--log-format=xml"}, {"--log-format", "xml"});
    ExpectRefusesToStart(name, {"--otlp-endpoint=collector:4318"}, {"--otlp-endpoint", "http"});
    ExpectRefusesToStart(name, {"--listen"}, {"--listen"});
    ExpectRefusesToStart(name, {}, {"--threads", "many"}, {"KVASIR_THREADS=many"});
  }
  ExpectRefusesToStart("kvasir-model", {"--dtype=f64"}, {"--dtype", "f64", "bf16"});
  ExpectRefusesToStart("kvasir-model", {"--device=tpu"}, {"--device", "tpu"});
  ExpectRefusesToStart("kvasir-model", {"--device=cuda:99"}, {"--device=cuda:99", "GPU"});
  ExpectRefusesToStart("kvasir-model", {"--cpu-kernel=best"}, {"--cpu-kernel", "best"});
  ExpectRefusesToStart("kvasir-model", {"--max-queue=0"}, {"--max-queue", "0"});
  ExpectRefusesToStart("kvasir-model", {"--max-running=5000"}, {"--max-running", "4096"});
  ExpectRefusesToStart("kvasir-model", {"--max-step-tokens=-1"}, {"--max-step-tokens", "65536"});
  ExpectRefusesToStart("kvasir-model", {"--kv-memory=2XB"}, {"--kv-memory", "xb"});
  ExpectRefusesToStart("kvasir-model", {"--kv-memory=-1"}, {"--kv-memory"});
  ExpectRefusesToStart("kvasir-model", {"--kv-memory=16EiB"}, {"--kv-memory"});
  ExpectRefusesToStart("kvasir-model", {"--kv-memory=10EB"}, {"--kv-memory"});
  ExpectRefusesToStart("kvasir-model", {"--kv-memory=1KB"}, {"--kv-memory", "1000", "block"});
  ExpectRefusesToStart("kvasir-model", {"--kv-memory=1PiB", "--log-level=error"},
                       {"--kv-memory", "memory"});
  ExpectRefusesToStart("kvasir-model", {"--kv-host-memory=2XB"}, {"--kv-host-memory", "xb"});
  ExpectRefusesToStart("kvasir-model", {"--kv-host-memory=-1"}, {"--kv-host-memory"});
  ExpectRefusesToStart("kvasir-model", {"--kv-host-memory=10EB"}, {"--kv-host-memory"});
  ExpectRefusesToStart("kvasir-model", {"--kv-host-memory=1MiB", "--device=cpu"},
                       {"--kv-host-memory: 1048576", "cpu"});
}

// Two replicas that listen on 0.0.0.0:50052 are not one.
TEST(Flags, AReplicaNeedsANameOfItsOwn) {
  const std::string redis = "--session-store=redis://127.0.0.1:1/0";
  for (const char* listen : {"0.0.0.0:50052", "[::]:50052", "127.0.0.1:0"}) {
    ExpectRefusesToStart("kvasir-model", {redis, "--insecure", "--listen=" + std::string(listen)},
                         {"--advertise", listen});
  }
  // Else what is wrong is that there is no Redis.
  ExpectRefusesToStart("kvasir-model",
                       {redis, "--insecure", "--listen=0.0.0.0:50052", "--advertise=replica1:1"},
                       {"127.0.0.1:1"});
  ExpectRefusesToStart("kvasir-model", {redis, "--listen=127.0.0.1:50052"}, {"127.0.0.1:1"});
}

TEST(Flags, SizesHaveSuffixesAndTheEnvironmentCounts) {
  // 2,048 bytes a token, in blocks.
  const std::pair<std::string, uint64_t> sizes[] = {
      {"33554432", 16384}, {"32MiB", 16384}, {"32mib", 16384}, {"67108864B", 32768}};
  for (const auto& [size, tokens] : sizes) {
    Program program("kvasir-model", With(kAnyPorts, "--kv-host-memory=auto"),
                    {"KVASIR_KV_MEMORY=" + size, "KVASIR_KV_HOST_MEMORY=0"});
    const auto stub = v1::ModelService::NewStub(ChannelTo(program.AwaitLine("listening on ")));
    grpc::ClientContext context;
    v1::GetModelInfoResponse info;
    ASSERT_TRUE(stub->GetModelInfo(&context, {}, &info).ok());
    EXPECT_EQ(info.kv_tokens(), tokens) << size;
  }
  // The command line wins.
  Program program("kvasir-model", With(kAnyPorts, "--kv-memory=16MiB"), {"KVASIR_KV_MEMORY=bad"});
  const auto stub = v1::ModelService::NewStub(ChannelTo(program.AwaitLine("listening on ")));
  grpc::ClientContext context;
  v1::GetModelInfoResponse info;
  ASSERT_TRUE(stub->GetModelInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.kv_tokens(), 8192);
}

// --- start --------------------------------------------------------------------------------------

TEST(Start, TakenPortsAreNamed) {
  for (const char* name : kPrograms) {
    Program first(name, kAnyPorts);
    const std::string metrics = first.AwaitLine("metrics on ");
    const std::string address = first.AwaitLine("listening on ");
    EXPECT_THAT(address, ContainsRegex("^127\\.0\\.0\\.1:[1-9][0-9]*$"));
    ExpectRefusesToStart(name, {"--listen=" + address, "--metrics=", "--log-level=error"},
                         {"--listen", address});
    ExpectRefusesToStart(name,
                         {"--listen=127.0.0.1:0", "--metrics=" + metrics, "--log-level=error"},
                         {"--metrics", metrics});
  }
}

TEST(Start, AddressesThatAreNoneAreNamed) {
  for (const char* name : kPrograms) {
    for (const std::string address : {"50051", "127.0.0.1:", ":50051", "127.0.0.1:70000",
                                      "127.0.0.1:http", "192.0.2.1:0", "nowhere:0"}) {
      ExpectRefusesToStart(name, {"--listen=" + address, "--metrics=", "--log-level=error"},
                           {"--listen", address});
    }
    ExpectRefusesToStart(name, {"--listen=127.0.0.1:0", "--metrics=nowhere", "--log-level=error"},
                         {"--metrics", "nowhere"});
  }
}

// A copy of the embedded model in which one file is missing or different.
class BrokenModel {
 public:
  BrokenModel() {
    std::filesystem::copy(std::filesystem::path(KVASIR_SOURCE_DIR) / "models" / "tiny", path_);
  }

  BrokenModel& Without(const std::string& file) {
    std::filesystem::remove(path_ / file);
    return *this;
  }
  BrokenModel& With(const std::string& file, const std::string& content) {
    std::ofstream(path_ / file) << content;
    return *this;
  }
  std::string flag() const { return "--model=" + path_.string(); }

 private:
  const testing::TemporaryDirectory directory_;
  const std::filesystem::path& path_ = directory_.path();
};

TEST(Start, BrokenModelsAreNamedByFileAndField) {
  const auto refuses = [](const std::string& program, const BrokenModel& model,
                          const std::vector<std::string>& words) {
    ExpectRefusesToStart(program, With(kAnyPorts, model.flag()), words);
  };
  refuses("kvasir-model", BrokenModel().Without("config.json"), {"config.json"});
  refuses("kvasir-model", BrokenModel().With("config.json", "{"), {"config.json"});
  refuses("kvasir-model", BrokenModel().With("config.json", R"({"model_type": "llama"})"),
          {"config.json", "model_type", "llama"});
  refuses("kvasir-model", BrokenModel().With("generation_config.json", "["),
          {"generation_config.json"});
  refuses("kvasir-model", BrokenModel().Without("model.safetensors"), {"model.safetensors"});
  refuses("kvasir-model", BrokenModel().With("model.safetensors", "short"), {"model.safetensors"});
  refuses("kvasir-tokenizer", BrokenModel().Without("tokenizer.json"), {"tokenizer.json"});
  refuses("kvasir-tokenizer", BrokenModel().With("tokenizer.json", "{}"), {"tokenizer.json"});
  refuses("kvasir-tokenizer", BrokenModel().With("tokenizer_config.json", "{"),
          {"tokenizer_config.json"});
  for (const char* program : kPrograms) {
    ExpectRefusesToStart(program, With(kAnyPorts, "--model=/nonexistent"), {"/nonexistent"});
  }
}

TEST(Start, EachServiceNeedsOnlyItsOwnFiles) {
  BrokenModel model;
  model.Without("tokenizer.json").Without("tokenizer_config.json");
  Program ids("kvasir-model", With(kAnyPorts, model.flag()));
  EXPECT_NE(ids.AwaitLine("listening on "), "");

  BrokenModel tokenizer;
  tokenizer.Without("config.json").Without("generation_config.json").Without("model.safetensors");
  Program text("kvasir-tokenizer", With(kAnyPorts, tokenizer.flag()));
  EXPECT_NE(text.AwaitLine("listening on "), "");
}

// --- serving ------------------------------------------------------------------------------------

TEST(Serving, HealthAndReflection) {
  const std::map<std::string, std::string> services = {
      {"kvasir-model", "kvasir.v1.ModelService"},
      {"kvasir-tokenizer", "kvasir.v1.TokenizerService"}};
  for (const auto& [name, service] : services) {
    Program program(name, kAnyPorts);
    const auto channel = ChannelTo(program.AwaitLine("listening on "));
    EXPECT_EQ(CheckHealth(channel), Health::kServing);
    // list_services, field 7 of ServerReflectionRequest; field 1 of HealthCheckRequest is a name.
    const std::string list = RawCall(
        channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3A\x01*");
    EXPECT_THAT(list, AllOf(HasSubstr(service), HasSubstr("grpc.health.v1.Health")));
    const std::string named = "\x0A" + std::string(1, static_cast<char>(service.size())) + service;
    EXPECT_EQ(RawCall(channel, "/grpc.health.v1.Health/Check", named), "\x08\x01");
  }
}

TEST(Serving, ModelMetrics) {
  Program program("kvasir-model", With(kAnyPorts, "--kv-memory=32MiB"));
  const std::string metrics = program.AwaitLine("metrics on ");
  const auto stub = v1::ModelService::NewStub(ChannelTo(program.AwaitLine("listening on ")));
  std::string text = Scrape(metrics);
  EXPECT_EQ(MetricOf(text, R"(kvasir_kv_blocks{state="idle"})"), 0);
  const double blocks = MetricOf(text, R"(kvasir_kv_blocks{state="free"})");
  EXPECT_GT(blocks, 0);

  CreateWith(*stub, "s", SomeIds(30, 1));
  ASSERT_TRUE(Generate(*stub, AskFor("s", SomeIds(10, 2), 20)).status.ok());
  ASSERT_TRUE(Generate(*stub, AskFor("s", {}, 20)).status.ok());
  EXPECT_EQ(Generate(*stub, AskFor("none", {}, 20)).status.error_code(), grpc::NOT_FOUND);
  text = ScrapeUntil(metrics, R"(kvasir_request_seconds_count{method="Generate"})", 3);
  EXPECT_EQ(MetricOf(text, R"(kvasir_requests_total{code="OK",method="Generate"})"), 2);
  EXPECT_EQ(MetricOf(text, R"(kvasir_requests_total{code="NOT_FOUND",method="Generate"})"), 1);
  EXPECT_EQ(MetricOf(text, R"(kvasir_requests_total{code="OK",method="CreateSession"})"), 1);
  EXPECT_EQ(MetricOf(text, "kvasir_input_tokens_total"), 10);
  EXPECT_EQ(MetricOf(text, "kvasir_generated_tokens_total"), 40);
  EXPECT_EQ(MetricOf(text, "kvasir_computed_tokens_total"), 79);  // all but the last
  EXPECT_EQ(MetricOf(text, "kvasir_cached_tokens_total"), 59);
  EXPECT_EQ(MetricOf(text, "kvasir_sessions"), 1);
  EXPECT_EQ(MetricOf(text, "kvasir_running"), 0);
  EXPECT_EQ(MetricOf(text, "kvasir_queue_length"), 0);
  EXPECT_EQ(MetricOf(text, "kvasir_saved_blocks_total"), 0);  // the CPU has no use for it
  EXPECT_EQ(MetricOf(text, "kvasir_restored_blocks_total"), 0);
  // The session's blocks may be counted a second late.
  text = ScrapeUntil(metrics, R"(kvasir_kv_blocks{state="idle"})", 5);  // 79 tokens
  EXPECT_EQ(MetricOf(text, R"(kvasir_kv_blocks{state="running"})"), 0);
  EXPECT_EQ(MetricOf(text, R"(kvasir_kv_blocks{state="free"})"), blocks - 5);
  EXPECT_EQ(MetricOf(text, "kvasir_step_seconds_count"), MetricOf(text, "kvasir_steps_total"));
  EXPECT_EQ(MetricOf(text, "kvasir_step_tokens_sum"), 79);
  EXPECT_EQ(MetricOf(text, std::string("kvasir_build_info{version=\"") + KVASIR_VERSION + "\"}"),
            1);

  EXPECT_TRUE(kvasir::testing::Delete(*stub, "s").ok());
  text = ScrapeUntil(metrics, "kvasir_sessions", 0);
  EXPECT_EQ(MetricOf(text, R"(kvasir_kv_blocks{state="idle"})"), 0);
  ScrapeUntil(metrics, R"(kvasir_kv_blocks{state="cached"})", 4);  // the full ones
}

TEST(Serving, TokenizerMetrics) {
  Program program("kvasir-tokenizer", kAnyPorts);
  const std::string metrics = program.AwaitLine("metrics on ");
  const auto stub = v1::TokenizerService::NewStub(ChannelTo(program.AwaitLine("listening on ")));
  v1::EncodeRequest request;
  request.set_text("Anna has a kite.");
  v1::EncodeResponse response;
  v1::DecodeRequest decode;
  v1::DecodeResponse decoded;
  grpc::ClientContext first, second;
  ASSERT_TRUE(stub->Encode(&first, request, &response).ok());
  *decode.mutable_ids() = response.ids();
  ASSERT_TRUE(stub->Decode(&second, decode, &decoded).ok());
  // A call is counted when gRPC is done with it, which its client need not wait for.
  ScrapeUntil(metrics, R"(kvasir_requests_total{code="OK",method="Encode"})", 1);
  const std::string text =
      ScrapeUntil(metrics, R"(kvasir_requests_total{code="OK",method="Decode"})", 1);
  EXPECT_EQ(MetricOf(text, "kvasir_encoded_bytes_total"), 16);
  EXPECT_EQ(MetricOf(text, "kvasir_encoded_tokens_total"), response.ids_size());
  EXPECT_EQ(MetricOf(text, "kvasir_decoded_bytes_total"), 16);
  EXPECT_EQ(MetricOf(text, "kvasir_decoded_tokens_total"), response.ids_size());
}

TEST(Serving, MetricsCanBeOff) {
  for (const char* name : kPrograms) {
    Program flag(name, {"--listen=127.0.0.1:0", "--metrics="});
    flag.AwaitLine("listening on ");
    EXPECT_THAT(flag.standard_output(), Not(HasSubstr("metrics on")));
    Program variable(name, {"--listen=127.0.0.1:0"}, {"KVASIR_METRICS="});
    variable.AwaitLine("listening on ");
    EXPECT_THAT(variable.standard_output(), Not(HasSubstr("metrics on")));
  }
}

// --- stop ---------------------------------------------------------------------------------------

TEST(Stop, IdleProgramsEndAtOnce) {
  for (const char* name : kPrograms) {
    for (int signal : {SIGTERM, SIGINT}) {
      Program program(name, kAnyPorts);
      program.AwaitLine("listening on ");
      const auto begin = std::chrono::steady_clock::now();
      program.Signal(signal);
      EXPECT_EQ(program.Wait(), 0);
      EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
    }
  }
}

// A running call that stays running until the test reads on: more than fits between its server and
// a client that does not read.
class HeldCall {
 public:
  static constexpr uint32_t kTokens = 2000;

  explicit HeldCall(v1::ModelService::Stub& stub) {
    v1::GenerateRequest request = AskFor("", SomeIds(10, 1), kTokens);
    request.set_top_logprobs(20);
    reader_ = stub.Generate(&context_, request);
    v1::GenerateResponse response;
    EXPECT_TRUE(reader_->Read(&response));
  }
  // Reads to the end; returns how many tokens came.
  size_t ReadOn() {
    size_t tokens = 0;
    v1::GenerateResponse response;
    while (reader_->Read(&response)) tokens += response.chunk().ids_size();
    return tokens;
  }
  grpc::Status Finish() { return reader_->Finish(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
};

TEST(Stop, RunningCallsFinishAndNewOnesAreRefused) {
  Program program("kvasir-model", kAnyPorts);
  const auto channel = ChannelTo(program.AwaitLine("listening on "));
  const auto stub = v1::ModelService::NewStub(channel);
  HeldCall call(*stub);
  program.Signal(SIGTERM);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (CheckHealth(channel) == Health::kServing) {
    ASSERT_LT(std::chrono::steady_clock::now(), until);
  }
  EXPECT_EQ(CheckHealth(channel), Health::kNotServing);
  // Health turns first.
  grpc::Status status;
  do {
    status = Generate(*stub, AskFor("", {1}, 1)).status;
  } while (status.ok() && std::chrono::steady_clock::now() < until);
  ExpectRefused(status, {grpc::UNAVAILABLE, "DRAINING", {"draining"}, {}});

  EXPECT_EQ(call.ReadOn(), HeldCall::kTokens);
  EXPECT_TRUE(call.Finish().ok());
  EXPECT_EQ(program.Wait(), 0);
}

TEST(Stop, ASecondSignalCutsCallsOff) {
  Program program("kvasir-model", kAnyPorts);
  const auto channel = ChannelTo(program.AwaitLine("listening on "));
  const auto stub = v1::ModelService::NewStub(channel);
  HeldCall call(*stub);
  program.Signal(SIGINT);
  while (CheckHealth(channel) == Health::kServing) {
  }
  const auto begin = std::chrono::steady_clock::now();
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_LT(call.ReadOn(), HeldCall::kTokens);
  EXPECT_FALSE(call.Finish().ok());
}

TEST(Stop, AnOpenTextStreamFinishes) {
  Program program("kvasir-tokenizer", kAnyPorts);
  const auto channel = ChannelTo(program.AwaitLine("listening on "));
  const auto stub = v1::TokenizerService::NewStub(channel);
  grpc::ClientContext context;
  const auto stream = stub->DecodeStream(&context);
  v1::DecodeStreamRequest request;
  request.add_ids(65);
  v1::DecodeStreamResponse response;
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&response));
  program.Signal(SIGTERM);
  while (CheckHealth(channel) == Health::kServing) {
  }
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&response));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(program.Wait(), 0);
}

}  // namespace
}  // namespace kvasir
