#ifndef KVASIR_SERVICES_SERVICE_COMMAND_H_
#define KVASIR_SERVICES_SERVICE_COMMAND_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "services/hub/model_folder.h"

namespace kvasir {

// The command line that the services share. Every flag can also be set in the environment:
// --kv-memory by KVASIR_KV_MEMORY; the command line wins.
class ServiceCommand {
 public:
  struct Defaults {
    std::string name;         // of the program
    std::string description;  // one line
    std::string examples;     // shown by --help
    std::string listen;
    std::string metrics;
    // Of --model. Nothing: it serves no model itself, and has no flags for that, nor for what is
    // told of RPCs (--metrics, --log-prompts, --otlp-endpoint).
    std::optional<hub::ModelUse> use = hub::ModelUse::kGenerate;
    std::string protocol = "gRPC";
  };
  explicit ServiceCommand(const Defaults& defaults);

  // Adds a flag with its environment variable. `name` is of the form "--some-name".
  template <typename T>
  CLI::Option* AddFlag(const std::string& name, T& value, const std::string& description) {
    return app_.add_option(name, value, description)
        ->envname(EnvironmentName(name))
        ->capture_default_str();
  }
  // A flag that is on or off.
  CLI::Option* AddSwitch(const std::string& name, bool& value, const std::string& description) {
    return app_.add_flag(name, value, description)->envname(EnvironmentName(name));
  }
  // A size with an optional suffix: KB is 1000 bytes, KiB is 1024.
  CLI::Option* AddSizeFlag(const std::string& name, uint64_t& bytes,
                           const std::string& description);

  // The same, or "auto", which is nothing.
  CLI::Option* AddOptionalSizeFlag(const std::string& name, std::optional<int64_t>& bytes,
                                   const std::string& description);

  // For flags that others add.
  CLI::App& app() { return app_; }

  // Reads the command line and starts logging. An exit code where the program ends here: --help,
  // --version, or a mistake, which has been told in a line on stderr.
  std::optional<int> Parse(int argc, char** argv);
  // Tells why the program cannot go on, in one line on stderr. Returns its exit code.
  int Fail(const std::string& why) const;

  const std::string& listen() const { return listen_; }
  const hub::ModelFolder& model() const { return folder_; }
  const std::string& metrics() const { return metrics_; }  // empty: off
  bool log_prompts() const { return log_prompts_; }
  const std::string& otlp_endpoint() const { return otlp_endpoint_; }  // empty: no spans
  const std::string& name() const { return name_; }

 private:
  static std::string EnvironmentName(const std::string& flag);
  void AddModelFlags();
  // What those flags say.
  absl::Status ApplyModelFlags();

  std::string name_;
  CLI::App app_;
  std::string listen_;
  std::string model_;
  const std::optional<hub::ModelUse> use_;
  hub::ModelFolder folder_;  // that --model names
  std::string metrics_;
  std::string log_level_ = "info";
  std::string log_format_ = "text";
  bool log_prompts_ = false;
  std::string otlp_endpoint_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_SERVICE_COMMAND_H_
