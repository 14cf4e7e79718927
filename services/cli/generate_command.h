#ifndef KVASIR_SERVICES_CLI_GENERATE_COMMAND_H_
#define KVASIR_SERVICES_CLI_GENERATE_COMMAND_H_

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "services/cli/connection.h"
#include "services/cli/generation.h"
#include "services/cli/sampling_flags.h"

namespace kvasir::cli {

// `kvasir generate`: a text goes on.
class GenerateCommand {
 public:
  // Returns the sub-command. REQUIRES: this outlives `app`.
  CLI::App* AddTo(CLI::App& app);
  // Returns the program's exit code.
  int Run();

 private:
  std::string Prompt() const;
  // The generated tokens on stdout: as ids, as a table of log-probabilities, as JSON, or as text.
  Generation Print(Connection& connection, const v1::GenerateRequest& request) const;

  Generation PrintJson(Connection& connection, const v1::GenerateRequest& request) const;

  ConnectionFlags connection_flags_;
  SamplingFlags sampling_;
  std::optional<std::string> prompt_;
  std::string session_;
  bool create_ = false;
  bool ids_ = false;
  bool json_ = false;
  bool verbose_ = false;
  std::optional<uint32_t> logprobs_;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_GENERATE_COMMAND_H_
