#ifndef KVASIR_SERVICES_CLI_CHAT_COMMAND_H_
#define KVASIR_SERVICES_CLI_CHAT_COMMAND_H_

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "services/cli/chat_session.h"
#include "services/cli/connection.h"
#include "services/cli/line_reader.h"
#include "services/cli/sampling_flags.h"

namespace kvasir::cli {

// `kvasir chat`: a conversation, one line a message.
class ChatCommand {
 public:
  // Returns the sub-command. REQUIRES: this outlives `app`.
  CLI::App* AddTo(CLI::App& app);
  // Returns the program's exit code.
  int Run();

 private:
  // Each returns an exit code where the chat ends.
  std::optional<int> Handle(ChatSession& chat, const std::string& line);
  std::optional<int> Answer(ChatSession& chat, const std::string& text);
  std::optional<int> RunSlashCommand(ChatSession& chat, const std::string& line);
  // A line for whoever sits there, not for a pipe.
  void Note(const std::string& text) const;
  // On a terminal the chat goes on after a failure; in a pipe it ends.
  std::optional<int> AfterFailure(const grpc::Status& status) const;

  ConnectionFlags connection_flags_;
  SamplingFlags sampling_;
  std::string session_;
  std::string system_;
  bool verbose_ = false;
  LineReader reader_;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_CHAT_COMMAND_H_
