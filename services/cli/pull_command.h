#ifndef KVASIR_SERVICES_CLI_PULL_COMMAND_H_
#define KVASIR_SERVICES_CLI_PULL_COMMAND_H_

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "services/hub/host_policy.h"
#include "services/hub/pull.h"

namespace kvasir::cli {

// `kvasir pull`: a model comes from a hub. Its folder is printed on stdout, all else on stderr.
class PullCommand {
 public:
  // Returns the sub-command. REQUIRES: this outlives `app`.
  CLI::App* AddTo(CLI::App& app);
  // Returns the program's exit code.
  int Run();

 private:
  std::string Json(const hub::PulledModel& model, const hub::PullProgress& progress) const;

  std::string model_;
  std::string revision_ = "main";
  bool json_ = false;
  std::optional<std::string> folder_;
  std::vector<std::string> redirect_hosts_ = hub::DefaultRedirectHosts();
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_PULL_COMMAND_H_
