#include "services/cli/client_flags.h"

#include <cctype>

namespace kvasir::cli {

std::string EnvironmentName(const std::string& flag) {
  std::string name = "KVASIR_";
  for (char c : flag.substr(flag.find("--") + 2))
    name += c == '-' ? '_' : static_cast<char>(std::toupper(c));
  return name;
}

CLI::Option* AddSwitch(CLI::App& app, const std::string& name, bool& value,
                       const std::string& description) {
  return app.add_flag(name, value, description)->envname(EnvironmentName(name));
}

}  // namespace kvasir::cli
