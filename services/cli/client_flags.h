#ifndef KVASIR_SERVICES_CLI_CLIENT_FLAGS_H_
#define KVASIR_SERVICES_CLI_CLIENT_FLAGS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

namespace kvasir::cli {

// "--min-p" -> "KVASIR_MIN_P".
std::string EnvironmentName(const std::string& flag);

// A flag with its environment variable; the command line wins. `name` is of the form "--some-name".
template <typename T>
CLI::Option* AddFlag(CLI::App& app, const std::string& name, T& value,
                     const std::string& description) {
  return app.add_option(name, value, description)
      ->envname(EnvironmentName(name))
      ->capture_default_str();
}
template <typename T>
CLI::Option* AddFlag(CLI::App& app, const std::string& name, std::optional<T>& value,
                     const std::string& description) {
  return app.add_option(name, value, description)->envname(EnvironmentName(name));
}
// A flag that is on or off.
CLI::Option* AddSwitch(CLI::App& app, const std::string& name, bool& value,
                       const std::string& description);

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_CLIENT_FLAGS_H_
