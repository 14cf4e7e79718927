#ifndef KVASIR_SERVICES_CLI_CHAT_COMMAND_H_
#define KVASIR_SERVICES_CLI_CHAT_COMMAND_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>

#include "services/cli/chat_session.h"
#include "services/cli/connection.h"
#include "services/cli/line_reader.h"
#include "services/cli/sampling_flags.h"

namespace kvasir::cli {

// `kvasir chat`: a conversation.
class ChatCommand {
 public:
  // Returns the sub-command. REQUIRES: this outlives `app`.
  CLI::App* AddTo(CLI::App& app);
  // Returns the program's exit code.
  int Run();

 private:
  // One chat, from its first message to its last.
  class Dialogue;

  ConnectionFlags connection_flags_;
  SamplingFlags sampling_;
  std::string session_;
  std::string system_;
  std::string template_arguments_;
  std::string history_;
  bool hide_thinking_ = false;
  bool verbose_ = false;
  bool json_ = false;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_CHAT_COMMAND_H_
