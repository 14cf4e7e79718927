#include "services/cli/chat_command.h"

#include <cstdio>
#include <cstdlib>

#include "services/cli/client_flags.h"

namespace kvasir::cli {
namespace {

constexpr char kExamples[] =
    "Examples:\n"
    "  kvasir chat\n"
    "      a new conversation; Ctrl-C stops an answer, Ctrl-D or /quit ends\n"
    "  kvasir chat --session=monday --system=\"Be brief.\"\n"
    "      in a session of this name, taken up again where there is one\n"
    "  printf 'My name is Ada.\\nWhat is my name?\\n' | kvasir chat --verbose\n"
    "      in a pipe: a message a line, an answer after each";

constexpr char kHelp[] =
    "/back          takes the last turn back\n"
    "/fork [ID]     goes on in a copy of the session; the original stays\n"
    "/reset         forgets everything\n"
    "/session       shows the session\n"
    "/help          this\n"
    "/quit          ends; the session is kept\n"
    "Ctrl-C stops an answer; what was shown of it stays in the session.";

bool Coloured(bool terminal) { return terminal && std::getenv("NO_COLOR") == nullptr; }

}  // namespace

CLI::App* ChatCommand::AddTo(CLI::App& app) {
  CLI::App* command = app.add_subcommand("chat", "A conversation that a session remembers");
  command->footer(std::string(kExamples) + "\n\nIn the chat:\n" + kHelp);
  AddFlag(*command, "--session", session_, "Session to take up or create; none: a new one");
  AddFlag(*command, "--system", system_, "What the model is told first");
  sampling_.AddTo(*command);
  AddSwitch(*command, "-v,--verbose", verbose_, "Statistics on stderr after each answer");
  connection_flags_.AddModelFlag(*command);
  connection_flags_.AddTokenizerFlag(*command);
  return command;
}

void ChatCommand::Note(const std::string& text) const {
  if (!reader_.terminal()) return;
  const bool coloured = Coloured(true);
  std::fprintf(stderr, "%s%s%s\n", coloured ? "\033[2m" : "", text.c_str(),
               coloured ? "\033[0m" : "");
}

std::optional<int> ChatCommand::AfterFailure(const grpc::Status& status) const {
  const int exit_code = ReportFailure(status);
  if (!reader_.terminal()) return exit_code;
  Interrupts::Get().Clear();
  return std::nullopt;
}

int ChatCommand::Run() {
  Interrupts::Get();
  Connection connection(connection_flags_);
  ChatSession chat(connection, sampling_, system_);
  const grpc::Status opened = chat.Open(session_);
  if (!opened.ok()) return ReportFailure(opened);
  Note("Session " + chat.id() + ", " + std::to_string(chat.length()) +
       " tokens. /help says what there is.");
  if (chat.length() > 0 && !system_.empty()) {
    Note("--system is not told again: the session has begun already.");
  }
  const std::string prompt = "> ";
  std::optional<int> exit_code;
  while (!exit_code.has_value()) {
    std::string line;
    switch (reader_.Read(prompt, line)) {
      case LineReader::Outcome::kLine:
        exit_code = Handle(chat, line);
        break;
      case LineReader::Outcome::kEnd:
        exit_code = 0;
        break;
      case LineReader::Outcome::kInterrupted:
        exit_code = Interrupts::kExitCode;
        break;
    }
  }
  Note("Kept: kvasir chat --session=" + chat.id());
  return *exit_code;
}

std::optional<int> ChatCommand::Handle(ChatSession& chat, const std::string& line) {
  if (line.find_first_not_of(" \t\r") == std::string::npos) return std::nullopt;
  if (line.starts_with("/")) return RunSlashCommand(chat, line);
  return Answer(chat, line);
}

std::optional<int> ChatCommand::Answer(ChatSession& chat, const std::string& text) {
  const uint64_t before = chat.length();
  const Generation generation = chat.Say(text);
  if (!generation.ids.empty()) {
    std::fputs("\n", stdout);
    std::fflush(stdout);
  }
  if (!generation.status.ok()) {
    const bool interrupted = generation.status.error_code() == grpc::StatusCode::CANCELLED;
    if (!interrupted) return AfterFailure(generation.status);
    if (!reader_.terminal()) {
      ReportFailure(generation.status);
      return Interrupts::kExitCode;
    }
    Note(chat.unsettled()
             ? "Stopped; what the session keeps of it is settled with the next message."
         : chat.length() > before ? "Stopped; what was shown is kept."
                                  : "Stopped; the message is taken back.");
  }
  if (verbose_) std::fprintf(stderr, "%s\n", Statistics(generation).c_str());
  return std::nullopt;
}

std::optional<int> ChatCommand::RunSlashCommand(ChatSession& chat, const std::string& line) {
  const size_t space = line.find(' ');
  const std::string name = line.substr(0, space);
  const size_t argument_at = line.find_first_not_of(' ', space);
  const std::string argument = space == std::string::npos || argument_at == std::string::npos
                                   ? ""
                                   : line.substr(argument_at);
  grpc::Status status;
  if (name == "/quit") return 0;
  if (name == "/help") {
    std::printf("%s\n", kHelp);
  } else if (name == "/back") {
    status = chat.Back();
    if (status.ok())
      Note("The last turn is taken back; " + std::to_string(chat.length()) + " tokens stay.");
  } else if (name == "/reset") {
    status = chat.Reset();
    if (status.ok()) Note("All is forgotten.");
  } else if (name == "/fork") {
    const std::string original = chat.id();
    status = chat.Fork(argument);
    if (status.ok()) Note("Now in " + chat.id() + "; " + original + " stays as it is.");
  } else if (name == "/session") {
    v1::Session session;
    status = chat.Describe(session);
    if (status.ok()) {
      std::printf("%s: %llu tokens, %llu cached\n", session.session_id().c_str(),
                  static_cast<unsigned long long>(session.length()),
                  static_cast<unsigned long long>(session.cached_tokens()));
    }
  } else {
    status = grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                          "there is no " + name + "; /help says what there is");
  }
  std::fflush(stdout);
  if (!status.ok()) return AfterFailure(status);
  return std::nullopt;
}

}  // namespace kvasir::cli
