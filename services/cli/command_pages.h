#ifndef KVASIR_SERVICES_CLI_COMMAND_PAGES_H_
#define KVASIR_SERVICES_CLI_COMMAND_PAGES_H_

#include <CLI/CLI.hpp>
#include <string>

namespace kvasir::cli {

// What a program's commands and flags make known of themselves, besides --help.

// A manual page in the man macros of roff: every command with its flags and examples. REQUIRES:
// `exit_codes` and the help texts are without markup.
std::string ManualPage(const CLI::App& app, const std::string& version,
                       const std::string& exit_codes);

// Scripts that complete commands and flags, and file names behind them.
std::string BashCompletion(const CLI::App& app);
std::string ZshCompletion(const CLI::App& app);

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_COMMAND_PAGES_H_
