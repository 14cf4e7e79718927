#ifndef KVASIR_SERVICES_CLI_SESSIONS_COMMAND_H_
#define KVASIR_SERVICES_CLI_SESSIONS_COMMAND_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "services/cli/connection.h"

namespace kvasir::cli {

// `kvasir sessions list|show|delete|export|import`.
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
  int Export();
  int Import();
  // All sessions with the labels that are asked for.
  grpc::Status ForEach(Connection& connection,
                       const std::function<void(const v1::Session&)>& session);

  ConnectionFlags connection_flags_;
  CLI::App* list_ = nullptr;
  CLI::App* show_ = nullptr;
  CLI::App* delete_ = nullptr;
  CLI::App* export_ = nullptr;
  CLI::App* import_ = nullptr;
  std::vector<std::string> labels_;  // key=value
  std::vector<std::string> ids_;
  bool json_ = false;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_SESSIONS_COMMAND_H_
