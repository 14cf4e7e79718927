#include "services/cli/generate_command.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <iterator>

#include "services/cli/answer_json.h"
#include "services/cli/client_flags.h"
#include "services/cli/logprob_table.h"

namespace kvasir::cli {
namespace {

constexpr char kExamples[] =
    "Examples:\n"
    "  kvasir generate \"Once upon a time\" -n 80 --temperature=0.7 --top-k=50\n"
    "      goes on with a text; nothing is kept\n"
    "  kvasir generate \"Once upon a time\" --session=story --create -n 20\n"
    "  kvasir generate \"\" --session=story -n 20\n"
    "      20 tokens, then 20 more from what the session holds\n"
    "  kvasir generate --ids < prompt.txt\n"
    "      reads the prompt from a file, prints token ids\n"
    "  kvasir generate \"2 + 2 =\" -n 3 --logprobs=5\n"
    "      each token with the five most probable\n"
    "  kvasir generate \"Once upon a time\" -n 20 --json";

}  // namespace

CLI::App* GenerateCommand::AddTo(CLI::App& app) {
  CLI::App* command = app.add_subcommand("generate", "Goes on with a text");
  command->footer(kExamples);
  command->add_option(
      "prompt", prompt_,
      "The text; \"\" continues a session as it stands. Not given: read from stdin");
  AddFlag(*command, "--session", session_, "Session to append to; none: nothing is kept");
  AddSwitch(*command, "--create", create_, "Create the session if there is none");
  sampling_.AddTo(*command);
  CLI::Option* ids = AddSwitch(*command, "--ids", ids_, "Print token ids in place of text");
  AddFlag(*command, "--logprobs", logprobs_,
          "Print a line for each token: id, log-probability, text, and so many alternatives")
      ->excludes(ids);
  AddSwitch(*command, "--json", json_,
            "A JSON object at the end in place of the text: text, ids, what they took, and "
            "--logprobs")
      ->excludes(ids);
  AddSwitch(*command, "-v,--verbose", verbose_,
            "Statistics on stderr (always where that is a terminal)");
  connection_flags_.AddModelFlag(*command);
  connection_flags_.AddTokenizerFlag(*command);
  return command;
}

std::string GenerateCommand::Prompt() const {
  if (prompt_.has_value()) return *prompt_;
  if (isatty(STDIN_FILENO) != 0) {
    if (!session_.empty()) return "";
    std::fputs("Type the prompt, then Ctrl-D:\n", stderr);
  }
  return std::string(std::istreambuf_iterator<char>(std::cin), {});
}

Generation GenerateCommand::Print(Connection& connection,
                                  const v1::GenerateRequest& request) const {
  if (json_) return PrintJson(connection, request);
  if (logprobs_.has_value()) {
    LogprobTable table(connection);
    Generation generation =
        RunGenerate(connection, request, [&](const v1::TokenChunk& chunk) { table.Print(chunk); });
    if (generation.status.ok()) generation.status = table.status();
    return generation;
  }
  Generation generation;
  if (ids_) {
    const char* separator = "";
    generation = RunGenerate(connection, request, [&](const v1::TokenChunk& chunk) {
      for (uint32_t id : chunk.ids()) {
        std::printf("%s%u", separator, id);
        separator = " ";
      }
      std::fflush(stdout);
    });
  } else {
    generation = StreamTextOf(connection, request);
  }
  if (!generation.ids.empty()) std::fputs("\n", stdout);
  return generation;
}

Generation GenerateCommand::PrintJson(Connection& connection,
                                      const v1::GenerateRequest& request) const {
  v1::TokenChunk all;
  Generation generation =
      RunGenerate(connection, request, [&](const v1::TokenChunk& chunk) { all.MergeFrom(chunk); });
  std::string text;
  if (generation.status.ok()) generation.status = connection.Decode(generation.ids, text);
  if (generation.status.ok()) {
    std::printf("%s\n", AnswerJson(generation, text, all).c_str());
  }
  return generation;
}

int GenerateCommand::Run() {
  const std::string prompt = Prompt();
  Interrupts::Get();  // Ctrl-C before this, while reading, just ends the program.
  Connection connection(connection_flags_);
  v1::GenerateRequest request;
  if (!prompt.empty()) {
    TokenIds ids;
    const grpc::Status status = connection.Encode(prompt, ids);
    if (!status.ok()) return ReportFailure(status);
    request.mutable_input_ids()->Add(ids.begin(), ids.end());
  }
  request.set_session_id(session_);
  request.set_create_if_missing(create_);
  if (logprobs_.has_value()) request.set_top_logprobs(*logprobs_);
  const grpc::Status filled = sampling_.Fill(connection, request);
  if (!filled.ok()) return ReportFailure(filled);

  const Generation generation = Print(connection, request);
  if (!generation.status.ok()) return ReportFailure(generation.status);
  if (verbose_ || isatty(STDERR_FILENO) != 0) {
    std::fprintf(stderr, "%s\n", Statistics(generation).c_str());
  }
  return 0;
}

}  // namespace kvasir::cli
