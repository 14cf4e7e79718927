// `kvasir` as a whole program against both services: what it prints where, and how it ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <algorithm>
#include <csignal>
#include <sstream>
#include <string>
#include <vector>

#include "tests/engine/temporary_directory.h"
#include "tests/services/program.h"

namespace kvasir {
namespace {

using kvasir::testing::Program;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::vector<std::string> kAnyPorts = {"--listen=127.0.0.1:0",
                                            "--metrics=", "--log-level=error"};

struct Outcome {
  int exit_code = 0;
  std::string output, error;
};

class Cli : public ::testing::Test {
 protected:
  // Small, so that the test does not depend on what is free.
  static std::vector<std::string> ModelFlags() {
    std::vector<std::string> flags = kAnyPorts;
    flags.emplace_back("--kv-memory=64MiB");
    return flags;
  }

  std::vector<std::string> Environment() const {
    return {"KVASIR_MODEL_SERVER=" + model_address_,
            "KVASIR_TOKENIZER_SERVER=" + tokenizer_address_};
  }

  // Into pipes, as in a script.
  Outcome Run(const std::vector<std::string>& arguments, const std::string& input = "") const {
    Program program("kvasir", arguments, Environment(), input);
    Outcome outcome;
    outcome.exit_code = program.Wait();
    outcome.output = program.standard_output();
    outcome.error = program.standard_error();
    EXPECT_THAT(outcome.output + outcome.error, AllOf(Not(HasSubstr("\033")), Not(HasSubstr("\r"))))
        << "colours or bars in a pipe";
    return outcome;
  }

  // What a run that must succeed in silence printed.
  std::string Output(const std::vector<std::string>& arguments) const {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
    EXPECT_EQ(outcome.error, "");
    return outcome.output;
  }

  // One line on stderr that begins with the gRPC code.
  void ExpectFails(const std::vector<std::string>& arguments, const std::string& code,
                   const std::string& words) const {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(outcome.output, "");
    EXPECT_THAT(outcome.error,
                AllOf(StartsWith("kvasir: " + code + ": "), HasSubstr(words), EndsWith("\n")));
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
  }

  Program tokenizer_{"kvasir-tokenizer", kAnyPorts};
  Program model_{"kvasir-model", ModelFlags()};
  const std::string tokenizer_address_ = tokenizer_.AwaitLine("listening on ");
  const std::string model_address_ = model_.AwaitLine("listening on ");
};

std::vector<int> Numbers(const std::string& text) {
  std::istringstream stream(text);
  std::vector<int> numbers;
  for (int number; stream >> number;) numbers.push_back(number);
  return numbers;
}

std::vector<std::string> Lines(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST_F(Cli, EveryCommandHasHelpWithExamples) {
  const std::vector<std::vector<std::string>> commands = {{},
                                                          {"generate"},
                                                          {"chat"},
                                                          {"bench"},
                                                          {"pull"},
                                                          {"sessions"},
                                                          {"sessions", "list"},
                                                          {"sessions", "show"},
                                                          {"sessions", "delete"},
                                                          {"sessions", "export"},
                                                          {"sessions", "import"},
                                                          {"completion"},
                                                          {"man"}};
  for (std::vector<std::string> command : commands) {
    command.emplace_back("--help");
    EXPECT_THAT(Output(command), AllOf(HasSubstr("Examples:"), HasSubstr("kvasir ")));
  }
  EXPECT_THAT(Output({"generate", "--help"}), HasSubstr("--retry-for"));
  EXPECT_EQ(Output({"--version"}), std::string("kvasir ") + KVASIR_VERSION + "\n");
}

TEST_F(Cli, BadFlagsAreNamed) {
  for (const auto& [arguments, word] :
       std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"generate", "--nonsense"}, "--nonsense"},
           {{"generate", "x", "--temperature=warm"}, "warm"},
           {{"generate", "x", "--retry-for=-1"}, "--retry-for"},
           {{"bench", "--batch=0"}, "--batch"},
           {{"sessions"}, "subcommand"},
           {{"sing"}, "sing"},
           {{}, "subcommand"}}) {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(outcome.output, "");
    EXPECT_THAT(outcome.error, AllOf(StartsWith("kvasir: "), HasSubstr(word)));
  }
}

TEST_F(Cli, GeneratesText) {
  const std::string first = Output({"generate", "Once upon a time", "-n", "20", "--seed=3"});
  EXPECT_GT(first.size(), 20);
  EXPECT_EQ(first.back(), '\n');
  EXPECT_EQ(Output({"generate", "Once upon a time", "-n", "20", "--seed=3"}), first);
  const Outcome piped = Run({"generate", "-n", "20", "--seed=3"}, "Once upon a time");
  EXPECT_EQ(piped.output, first);
  const Outcome verbose = Run({"generate", "Once", "-n", "5", "--ignore-eos", "--verbose"});
  EXPECT_EQ(verbose.exit_code, 0);
  EXPECT_THAT(verbose.error, AllOf(StartsWith("5 tokens in "), HasSubstr("cached_tokens 0"),
                                   Not(HasSubstr("inf")), Not(HasSubstr("nan"))));
}

TEST_F(Cli, AnswersAreJsonWhereAsked) {
  const std::vector<std::string> greedy = {"generate", "Once upon a time", "-n", "5",
                                           "--temperature=0"};
  const std::string text = Output(greedy);
  std::vector<std::string> arguments = greedy;
  arguments.insert(arguments.end(), {"--json", "--logprobs=2", "--session=told", "--create"});
  rapidjson::Document json;
  json.Parse(Output(arguments).c_str());
  ASSERT_TRUE(json.IsObject());
  EXPECT_EQ(std::string(json["text"].GetString()) + "\n", text);
  EXPECT_STREQ(json["session_id"].GetString(), "told");
  EXPECT_EQ(json["ids"].Size(), 5);
  EXPECT_EQ(json["logprobs"].Size(), 5);
  EXPECT_EQ(json["logprobs"][0]["alternatives"].Size(), 2);
  EXPECT_STREQ(json["finish_reason"].GetString(), "FINISH_REASON_MAX_NEW_TOKENS");
  EXPECT_EQ(json["usage"]["generated_tokens"].GetInt(), 5);

  const Outcome chat = Run({"chat", "--temperature=0", "--json"}, "My name is Ada.\nWho am I?\n");
  EXPECT_EQ(chat.exit_code, 0) << chat.error;
  const std::vector<std::string> answers = Lines(chat.output);
  ASSERT_EQ(answers.size(), 2);
  for (const std::string& answer : answers) {
    json.Parse(answer.c_str());
    ASSERT_TRUE(json.IsObject()) << answer;
    EXPECT_STRNE(json["text"].GetString(), "");
  }
}

TEST_F(Cli, ASessionGoesOnWhereItWasLeft) {
  const std::string prompt = "Once upon a time";
  const auto generate = [&](const std::string& text, const std::string& session, int tokens) {
    return Numbers(Output({"generate", text, "--session=" + session, "--create", "--seed=7",
                           "--ignore-eos", "--ids", "-n", std::to_string(tokens)}));
  };
  std::vector<int> halves = generate(prompt, "halves", 20);
  const std::vector<int> second = generate("", "halves", 20);
  halves.insert(halves.end(), second.begin(), second.end());
  EXPECT_EQ(halves.size(), 40);
  EXPECT_EQ(halves, generate(prompt, "whole", 40));
}

TEST_F(Cli, ShowsLogProbabilities) {
  const std::vector<std::string> lines =
      Lines(Output({"generate", "Once upon a", "-n", "3", "--ignore-eos", "--logprobs=2"}));
  ASSERT_EQ(lines.size(), 3);
  for (const std::string& line : lines) {
    EXPECT_EQ(std::count(line.begin(), line.end(), '\t'), 4) << line;
  }
}

TEST_F(Cli, ListsShowsAndDeletesSessions) {
  EXPECT_EQ(Output({"sessions", "list", "--json"}), "[]\n");
  for (const char* name : {"--session=monday", "--session=tuesday"}) {
    Output({"generate", "Hello", name, "--create", "-n", "4", "--ignore-eos"});
  }
  const std::vector<std::string> table = Lines(Output({"sessions", "list"}));
  ASSERT_EQ(table.size(), 3);
  EXPECT_THAT(table[0], StartsWith("SESSION"));
  EXPECT_THAT(table[1], StartsWith("monday "));
  EXPECT_THAT(table[2], StartsWith("tuesday "));
  rapidjson::Document list;
  list.Parse(Output({"sessions", "list", "--json"}).c_str());
  ASSERT_TRUE(list.IsArray());
  ASSERT_EQ(list.Size(), 2);
  EXPECT_STREQ(list[0]["session_id"].GetString(), "monday");
  EXPECT_THAT(Output({"sessions", "show", "monday"}),
              AllOf(HasSubstr("session"), HasSubstr("monday"), HasSubstr("length")));
  rapidjson::Document shown;
  shown.Parse(Output({"sessions", "show", "tuesday", "--json"}).c_str());
  EXPECT_STREQ(shown["session_id"].GetString(), "tuesday");
  EXPECT_EQ(Output({"sessions", "delete", "monday"}), "");
  ExpectFails({"sessions", "show", "monday"}, "NOT_FOUND", "monday");
  ExpectFails({"sessions", "delete", "monday"}, "NOT_FOUND", "monday");
}

TEST_F(Cli, SessionsMoveToAnotherStore) {
  for (const char* name : {"--session=monday", "--session=tuesday"}) {
    Output({"generate", "Hello", name, "--create", "-n", "40", "--ignore-eos"});
  }
  const std::string exported = Output({"sessions", "export"});
  EXPECT_EQ(Lines(exported).size(), 2);
  const std::vector<std::string> goes_on = {"generate", "", "--session=monday", "-n", "8", "--ids"};
  const std::string undisturbed = Output(goes_on);
  Output({"sessions", "delete", "monday"});
  const Outcome imported = Run({"sessions", "import"}, exported);
  EXPECT_EQ(imported.exit_code, 1);
  EXPECT_EQ(imported.output, "");
  EXPECT_THAT(imported.error, AllOf(StartsWith("kvasir: ALREADY_EXISTS: "), HasSubstr("tuesday")));
  EXPECT_EQ(Lines(imported.error).size(), 1);
  EXPECT_EQ(Lines(Output({"sessions", "export"})), Lines(exported));
  EXPECT_EQ(Output(goes_on), undisturbed);
  const Outcome wrong = Run({"sessions", "import"}, "{\"session_id\": 7");
  EXPECT_EQ(wrong.exit_code, 1);
  EXPECT_THAT(wrong.error, HasSubstr("stdin, line 1"));
}

TEST_F(Cli, ErrorsNameTheCodeAndTheField) {
  ExpectFails({"generate", "Hello", "--session=nobody"}, "NOT_FOUND", "nobody");
  ExpectFails({"generate", "Hello", "--temperature=-1"}, "INVALID_ARGUMENT", "temperature");
  ExpectFails({"generate", "Hello", "--session=a b"}, "INVALID_ARGUMENT", "session_id");
  for (const char* server : {"--model-server=127.0.0.1:1", "--tokenizer-server=127.0.0.1:1"}) {
    ExpectFails({"generate", "Hello", server, "--retry-for=0"}, "UNAVAILABLE", "");
    ExpectFails({"generate", "Hello", server, "--retry-for=0.1"}, "UNAVAILABLE",
                "given up after 0.1 s (--retry-for)");
  }
}

TEST_F(Cli, ChatsInAPipe) {
  const Outcome outcome = Run(
      {"chat", "--session=talk", "--temperature=0", "--verbose"},
      "My name is Olga.\nWhat is my name?\n/back\n/fork copy\n/session\n/reset\n/session\n/help\n");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  const std::vector<std::string> lines = Lines(outcome.output);
  ASSERT_GT(lines.size(), 4);
  EXPECT_THAT(lines[1], HasSubstr("Olga"));
  EXPECT_THAT(lines[2], AllOf(StartsWith("copy: "), Not(HasSubstr("copy: 0 tokens"))));
  EXPECT_THAT(lines[3], StartsWith("copy: 0 tokens"));
  EXPECT_THAT(lines[4], StartsWith("/retry"));
  // The second message found the first in the session.
  const std::vector<std::string> statistics = Lines(outcome.error);
  ASSERT_EQ(statistics.size(), 2);
  EXPECT_THAT(statistics[0], HasSubstr("cached_tokens 0 of "));
  EXPECT_THAT(statistics[1], Not(HasSubstr("cached_tokens 0 of ")));
  // The original, without its last turn, stays after /fork and /reset.
  EXPECT_THAT(Output({"sessions", "show", "talk"}), HasSubstr("length"));
  const Outcome again = Run({"chat", "--session=talk", "--temperature=0"}, "What is my name?");
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_EQ(again.output, lines[1] + "\n");
  const Outcome wrong = Run({"chat"}, "/sing\n");
  EXPECT_EQ(wrong.exit_code, 1);
  EXPECT_THAT(wrong.error, HasSubstr("/sing"));
}

TEST_F(Cli, TheChatsCommandsWorkInAPipe) {
  const testing::TemporaryDirectory folder;
  const std::string file = (folder.path() / "chat.json").string();
  const Outcome outcome =
      Run({"chat", "--temperature=0", "--system=Be brief."},
          "My name is Olga.\n/edit 1 My name is Anna.\nWhat is my name?\n/retry\n/save " + file +
              "\n/edit\n/system\n\"\"\"\nHello\nyou\n\"\"\"\n/system -\n/system\n/load " + file +
              "\n/edit\n");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_EQ(outcome.error, "");
  const std::vector<std::string> lines = Lines(outcome.output);
  ASSERT_EQ(lines.size(), 11) << outcome.output;
  EXPECT_THAT(lines[2], HasSubstr("Anna"));
  EXPECT_THAT(std::vector<std::string>(lines.begin() + 4, lines.begin() + 7),
              ElementsAre("1  My name is Anna.", "2  What is my name?", "Be brief."));
  EXPECT_EQ(lines[8], "") << "no system message";
  EXPECT_EQ(lines[10], "2  What is my name?");
  for (const char* wrong :
       {"/edit 1 x", "/edit one", "/retry", "/back", "/save", "/load nowhere"}) {
    EXPECT_EQ(Run({"chat"}, std::string(wrong) + "\n").exit_code, 1) << wrong;
  }
}

TEST_F(Cli, CtrlCCancelsAndTheSessionIsWhole) {
  Program program(
      "kvasir",
      {"generate", "Once upon a time", "--session=cut", "--create", "--ignore-eos", "--ids"},
      Environment());
  program.AwaitOutput();
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait(), 128 + SIGINT);
  EXPECT_EQ(program.standard_error(), "kvasir: CANCELLED: interrupted\n");
  EXPECT_EQ(program.standard_output().back(), '\n');
  const size_t shown = Numbers(program.standard_output()).size();
  rapidjson::Document session;
  session.Parse(Output({"sessions", "show", "cut", "--json"}).c_str());
  EXPECT_GE(std::stoull(session["length"].GetString()), shown);
  EXPECT_FALSE(session["busy"].GetBool());
  Output({"generate", "", "--session=cut", "-n", "3"});
}

TEST_F(Cli, BenchPrintsATableAndJson) {
  const std::vector<std::string> flags = {"bench",       "--prompt=40", "--generate=8",
                                          "--batch=1,3", "--depth=20",  "--kv-memory=64MiB"};
  const std::vector<std::string> table = Lines(Output(flags));
  ASSERT_EQ(table.size(), 4);
  EXPECT_THAT(table[1], HasSubstr("prefill tokens/s"));

  std::vector<std::string> json_flags = flags;
  json_flags.emplace_back("--json");
  json_flags.emplace_back("--arrival=100");
  rapidjson::Document json;
  json.Parse(Output(json_flags).c_str());
  ASSERT_TRUE(json.IsArray());
  ASSERT_EQ(json.Size(), 2);
  EXPECT_EQ(json[1]["batch"].GetInt(), 3);
  EXPECT_EQ(json[1]["prompt_tokens"].GetInt(), 40);
  EXPECT_EQ(json[1]["generated_tokens"].GetInt(), 8);
  EXPECT_EQ(json[1]["depth"].GetInt(), 20);
  for (const char* rate : {"prefill_tokens_per_second", "decode_tokens_per_second"}) {
    EXPECT_GT(json[1][rate].GetDouble(), 0) << rate;
  }
  EXPECT_GT(json[1]["peak_resident_bytes"].GetInt64(), 4 << 20);
  EXPECT_EQ(json[1]["arrival_tokens"].GetInt(), 100);
  EXPECT_GT(json[1]["usual_gap_seconds"].GetDouble(), 0);
  EXPECT_GE(json[1]["longest_gap_seconds"].GetDouble(), json[1]["usual_gap_seconds"].GetDouble());

  const Outcome wrong = Run({"bench", "--depth=500000"});
  EXPECT_EQ(wrong.exit_code, 1);
  EXPECT_THAT(wrong.error, HasSubstr("--depth"));
}

}  // namespace
}  // namespace kvasir
