#include "services/cli/chat_command.h"

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <utility>

#include "services/cli/answer_json.h"
#include "services/cli/answer_view.h"
#include "services/cli/client_flags.h"

namespace kvasir::cli {
namespace {

constexpr char kExamples[] =
    "Examples:\n"
    "  kvasir chat\n"
    "      a new conversation; Ctrl-C stops an answer, Ctrl-D or /quit ends\n"
    "  kvasir chat --session=monday --system=\"Be brief.\"\n"
    "      in a session of this name, taken up again where there is one\n"
    "  kvasir chat --template-arguments='{\"enable_thinking\": false}' --hide-thinking\n"
    "      what a template has a switch for\n"
    "  printf 'My name is Ada.\\nWhat is my name?\\n' | kvasir chat --verbose\n"
    "      in a pipe: a message a line, an answer after each";

constexpr char kHelp[] =
    "/retry           another answer to the last question\n"
    "/edit [N [TEXT]] puts another text in place of question N and goes on from there; without N,\n"
    "                 lists the questions\n"
    "/back            takes the last turn back\n"
    "/system [TEXT]   changes, or shows, what the model is told first; - for nothing\n"
    "/fork [ID]       goes on in a copy of the session; the original stays\n"
    "/save FILE       writes the chat to a file\n"
    "/load FILE       goes on with the chat of a file\n"
    "/reset           forgets everything but what /system says\n"
    "/session         shows the session\n"
    "/help            this\n"
    "/quit            ends; the session is kept\n"
    "A message of several lines stands between two lines of \"\"\"; or Alt-Enter begins a new "
    "line.\n"
    "Ctrl-C stops an answer; what was shown of it stays in the session.";

// In the manner of the XDG base directories.
std::string DefaultHistory() {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder;
  if (state != nullptr && *state != '\0') {
    folder = state;
  } else if (home != nullptr && *home != '\0') {
    folder = std::filesystem::path(home) / ".local" / "state";
  } else {
    return "";
  }
  return (folder / "kvasir" / "chat_history").string();
}

bool IsBlank(std::string_view text) { return text.find_first_not_of(" \t\r\n") == text.npos; }

// The first word, and what follows it.
std::pair<std::string, std::string> FirstWord(const std::string& text) {
  const size_t end = std::min(text.find(' '), text.size());
  const size_t rest = std::min(text.find_first_not_of(' ', end), text.size());
  return {text.substr(0, end), text.substr(rest)};
}

std::string OneLine(const std::string& text) {
  const size_t end = text.find('\n');
  return end == std::string::npos ? text : text.substr(0, end) + " ...";
}

}  // namespace

class ChatCommand::Dialogue {
 public:
  explicit Dialogue(const ChatCommand& command)
      : command_(command),
        connection_(command.connection_flags_),
        chat_(connection_, command.sampling_, command.system_, command.template_arguments_),
        reader_(command.history_),
        coloured_(reader_.terminal() && std::getenv("NO_COLOR") == nullptr) {}

  // Returns the program's exit code.
  int Run();

 private:
  // Each returns an exit code where the chat ends.
  std::optional<int> Interrupted(const std::string& typed);
  std::optional<int> Handle(const std::string& message);
  std::optional<int> Answer(const std::function<Generation(const ShowText& show)>& ask);
  std::optional<int> RunSlashCommand(const std::string& line);
  std::optional<int> Edit(const std::string& argument);
  grpc::Status ShowSession();
  grpc::Status ShowOrSetSystem(const std::string& argument);
  // On a terminal the chat goes on after a failure; in a pipe it ends.
  std::optional<int> AfterFailure(const grpc::Status& status) const;
  // A line for whoever sits there, not for a pipe.
  void Note(const std::string& text) const;

  const ChatCommand& command_;
  Connection connection_;
  ChatSession chat_;
  LineReader reader_;
  const bool coloured_;
  std::optional<size_t> edited_;  // The question whose new text is being typed.
};

CLI::App* ChatCommand::AddTo(CLI::App& app) {
  history_ = DefaultHistory();
  CLI::App* command = app.add_subcommand("chat", "A conversation that a session remembers");
  command->footer(std::string(kExamples) + "\n\nIn the chat:\n" + kHelp);
  AddFlag(*command, "--session", session_, "Session to take up or create; none: a new one");
  AddFlag(*command, "--system", system_, "What the model is told first");
  AddFlag(*command, "--template-arguments", template_arguments_,
          "A JSON object of variables for the chat template");
  AddSwitch(*command, "--hide-thinking", hide_thinking_,
            "Do not show what the model thinks before it answers");
  AddFlag(*command, "--history", history_,
          "File of what was typed, for a terminal's arrow keys; empty: none")
      ->expected(0, 1)  // so that --history= is empty
      ->default_str("");
  sampling_.AddTo(*command);
  AddSwitch(*command, "-v,--verbose", verbose_, "Statistics on stderr after each answer");
  AddSwitch(*command, "--json", json_, "A JSON object for each answer, a line, in place of text");
  connection_flags_.AddModelFlag(*command);
  connection_flags_.AddTokenizerFlag(*command);
  return command;
}

int ChatCommand::Run() {
  Interrupts::Get();
  return Dialogue(*this).Run();
}

void ChatCommand::Dialogue::Note(const std::string& text) const {
  if (!reader_.terminal()) return;
  std::fprintf(stderr, "%s%s%s\n", coloured_ ? "\033[2m" : "", text.c_str(),
               coloured_ ? "\033[0m" : "");
}

std::optional<int> ChatCommand::Dialogue::AfterFailure(const grpc::Status& status) const {
  const int exit_code = ReportFailure(status);
  if (!reader_.terminal()) return exit_code;
  Interrupts::Get().Clear();
  return std::nullopt;
}

int ChatCommand::Dialogue::Run() {
  const grpc::Status opened = chat_.Open(command_.session_);
  if (!opened.ok()) return ReportFailure(opened);
  Note("Session " + chat_.id() + ", " + std::to_string(chat_.length()) +
       " tokens. /help says what there is.");
  if (chat_.length() > 0 && !command_.system_.empty()) {
    Note("--system is not told again: the session has begun already.");
  }
  // The marks are libedit's, around what takes no room.
  const std::string prompt = coloured_ ? "\1\033[1m\1> \1\033[0m\1" : "> ";
  std::optional<int> exit_code;
  while (!exit_code.has_value()) {
    std::string message;
    switch (reader_.Read(prompt, message)) {
      case LineReader::Outcome::kLine:
        exit_code = Handle(message);
        break;
      case LineReader::Outcome::kEnd:
        exit_code = 0;
        break;
      case LineReader::Outcome::kInterrupted:
        exit_code = Interrupted(message);
        break;
    }
  }
  Note("Kept: kvasir chat --session=" + chat_.id());
  return *exit_code;
}

std::optional<int> ChatCommand::Dialogue::Interrupted(const std::string& typed) {
  const bool was_editing = std::exchange(edited_, std::nullopt).has_value();
  if (!reader_.terminal() || (IsBlank(typed) && !was_editing)) return Interrupts::kExitCode;
  Interrupts::Get().Clear();  // It was for the line.
  return std::nullopt;
}

std::optional<int> ChatCommand::Dialogue::Handle(const std::string& message) {
  const std::optional<size_t> edited = std::exchange(edited_, std::nullopt);
  if (IsBlank(message)) return std::nullopt;
  if (message.starts_with("/")) return RunSlashCommand(message);
  return Answer([&](const ShowText& show) {
    return edited.has_value() ? chat_.Edit(*edited, message, show) : chat_.Say(message, show);
  });
}

std::optional<int> ChatCommand::Dialogue::Answer(
    const std::function<Generation(const ShowText& show)>& ask) {
  std::optional<AnswerView> view;  // Made when the first text comes: only then it is known how.
  std::string text;
  const Generation generation = ask([&](std::string_view piece) {
    if (command_.json_) {
      text += piece;
      return;
    }
    if (!view.has_value()) {
      view.emplace(AnswerView::Style{coloured_, command_.hide_thinking_}, chat_.begins_thinking(),
                   PrintText);
    }
    view->Write(piece);
  });
  if (view.has_value()) view->Finish();
  if (command_.json_) {
    v1::TokenChunk all;
    all.mutable_ids()->Add(generation.ids.begin(), generation.ids.end());
    if (generation.status.ok()) PrintText(AnswerJson(generation, text, all) + "\n");
  } else if (!generation.ids.empty()) {
    PrintText("\n");
  }
  if (!generation.status.ok()) {
    const bool interrupted = generation.status.error_code() == grpc::StatusCode::CANCELLED;
    if (!interrupted) return AfterFailure(generation.status);
    if (!reader_.terminal()) {
      ReportFailure(generation.status);
      return Interrupts::kExitCode;
    }
    Note(chat_.unsettled()
             ? "Stopped; what the session keeps of it is settled with the next message."
         : !generation.ids.empty() ? "Stopped; what was shown is kept."
                                   : "Stopped; the message is taken back.");
  }
  if (command_.verbose_) {
    std::fprintf(stderr, "%s\n", Statistics(generation).c_str());
  } else {
    Note(ShortStatistics(generation));
  }
  return std::nullopt;
}

std::optional<int> ChatCommand::Dialogue::Edit(const std::string& argument) {
  const auto [word, text] = FirstWord(argument);
  const std::vector<std::string> questions = chat_.questions();
  if (word.empty()) {
    for (size_t i = 0; i < questions.size(); ++i) {
      std::printf("%zu  %s\n", i + 1, OneLine(questions[i]).c_str());
    }
    std::fflush(stdout);
    return std::nullopt;
  }
  size_t number = 0;
  const auto parsed = std::from_chars(word.data(), word.data() + word.size(), number);
  if (parsed.ec != std::errc() || parsed.ptr != word.data() + word.size() || number < 1 ||
      number > questions.size()) {
    return AfterFailure(
        {grpc::StatusCode::INVALID_ARGUMENT,
         "/edit: " + word + " is none of the questions 1 to " + std::to_string(questions.size())});
  }
  if (!text.empty()) {
    return Answer(
        [&, &text = text](const ShowText& show) { return chat_.Edit(number, text, show); });
  }
  if (!reader_.terminal()) {
    return AfterFailure({grpc::StatusCode::INVALID_ARGUMENT, "/edit: the new text is missing"});
  }
  edited_ = number;
  reader_.Prefill(questions[number - 1]);
  return std::nullopt;
}

grpc::Status ChatCommand::Dialogue::ShowSession() {
  v1::Session session;
  grpc::Status status = chat_.Describe(session);
  if (!status.ok()) return status;
  std::printf("%s: %llu tokens, %llu cached\n", session.session_id().c_str(),
              static_cast<unsigned long long>(session.length()),
              static_cast<unsigned long long>(session.cached_tokens()));
  return status;
}

grpc::Status ChatCommand::Dialogue::ShowOrSetSystem(const std::string& argument) {
  if (argument.empty()) {
    std::printf("%s\n", chat_.system().c_str());
    return grpc::Status::OK;
  }
  grpc::Status status = chat_.SetSystem(argument == "-" ? "" : argument);
  if (status.ok()) Note("From the next message on; the session is computed anew for it.");
  return status;
}

std::optional<int> ChatCommand::Dialogue::RunSlashCommand(const std::string& line) {
  const auto [name, argument] = FirstWord(line);
  const std::string before = chat_.id();
  grpc::Status status;
  std::string note;
  if (name == "/quit") return 0;
  if (name == "/edit") return Edit(argument);
  if (name == "/retry") return Answer([&](const ShowText& show) { return chat_.Retry(show); });
  if (name == "/help") {
    std::printf("%s\n", kHelp);
  } else if (name == "/back") {
    status = chat_.Back();
    note = "The last turn is taken back; " + std::to_string(chat_.length()) + " tokens stay.";
  } else if (name == "/reset") {
    status = chat_.Reset();
    note = "All is forgotten.";
  } else if (name == "/system") {
    status = ShowOrSetSystem(argument);
  } else if (name == "/fork") {
    status = chat_.Fork(argument);
    note = "Now in " + chat_.id() + "; " + before + " stays as it is.";
  } else if (name == "/save" || name == "/load") {
    if (argument.empty()) {
      status = {grpc::StatusCode::INVALID_ARGUMENT, name + ": a file's name is missing"};
    } else if (name == "/save") {
      status = chat_.Save(argument);
      note = "Written to " + argument + ".";
    } else {
      status = chat_.Load(argument);
      note = "Session " + chat_.id() + ", " + std::to_string(chat_.length()) + " tokens.";
    }
  } else if (name == "/session") {
    status = ShowSession();
  } else {
    status = {grpc::StatusCode::INVALID_ARGUMENT,
              "there is no " + name + "; /help says what there is"};
  }
  std::fflush(stdout);
  if (!status.ok()) return AfterFailure(status);
  if (!note.empty()) Note(note);
  return std::nullopt;
}

}  // namespace kvasir::cli
