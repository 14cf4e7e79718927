#ifndef KVASIR_SERVICES_CLI_SESSIONS_COMMAND_H_
#define KVASIR_SERVICES_CLI_SESSIONS_COMMAND_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "services/cli/connection.h"

namespace kvasir::cli {

// `kvasir sessions list|show|delete`.
class SessionsCommand {
 public:
  // Returns the sub-command. REQUIRES: this outlives `app`.
  CLI::App* AddTo(CLI::App& app);
  // Returns the program's exit code.
  int Run();

 private:
  int List();
  int Show();
  int Delete();

  ConnectionFlags connection_flags_;
  CLI::App* list_ = nullptr;
  CLI::App* show_ = nullptr;
  CLI::App* delete_ = nullptr;
  std::vector<std::string> labels_;  // key=value
  std::vector<std::string> ids_;
  bool json_ = false;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_SESSIONS_COMMAND_H_
