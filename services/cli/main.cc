// kvasir: the client of both services, the engine's benchmark, and what fetches models.
#include <grpc/support/log.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "services/cli/bench_command.h"
#include "services/cli/chat_command.h"
#include "services/cli/command_pages.h"
#include "services/cli/generate_command.h"
#include "services/cli/pull_command.h"
#include "services/cli/sessions_command.h"

namespace kvasir::cli {
namespace {

constexpr char kFooter[] =
    "Every flag can be set in the environment too: --model-server by KVASIR_MODEL_SERVER.\n"
    "\n"
    "Examples:\n"
    "  kvasir generate \"Once upon a time\" -n 80\n"
    "  kvasir chat --session=monday\n"
    "  kvasir sessions list\n"
    "  kvasir bench --batch=1,8\n"
    "  kvasir pull Qwen/Qwen3-4B-Instruct-2507\n"
    "`kvasir COMMAND --help` has more. Exit codes: 0 done, 1 not done, 130 interrupted.";

constexpr char kExitCodes[] =
    "0    done\n"
    "1    not done; one line on standard error says why: kvasir: CODE: MESSAGE\n"
    "130  interrupted (Ctrl-C); of an answer, what was shown stays in the session";

// What a user needs to know of gRPC is in the statuses that we print.
void Discard(gpr_log_func_args*) {}

bool HasCommand(CLI::App& app, const std::string& name) {
  const std::vector<CLI::App*> commands =
      app.get_subcommands([&](CLI::App* command) { return command->get_name() == name; });
  return !commands.empty();
}

CLI::App* AddCompletion(CLI::App& app, std::string& shell) {
  CLI::App* command =
      app.add_subcommand("completion", "Prints what completes commands and flags in a shell");
  command->add_option("shell", shell, "bash or zsh")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}));
  command->footer(
      "Examples:\n"
      "  source <(kvasir completion bash)\n"
      "  kvasir completion zsh > ~/.zfunc/_kvasir");
  return command;
}

int Print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  return 0;
}

int Main(int argc, char** argv) {
  if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function(Discard);
  CLI::App app("Kvasir's client: text in, text out, in sessions that the server keeps.", "kvasir");
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("kvasir ") + KVASIR_VERSION);
  app.get_formatter()->column_width(36);
  app.require_subcommand(1);
  GenerateCommand generate;
  ChatCommand chat;
  SessionsCommand sessions;
  BenchCommand bench;
  PullCommand pull;
  const CLI::App* generate_app = generate.AddTo(app);
  const CLI::App* chat_app = chat.AddTo(app);
  const CLI::App* sessions_app = sessions.AddTo(app);
  bench.AddTo(app);
  const CLI::App* pull_app = pull.AddTo(app);
  std::string shell;
  const CLI::App* completion_app = AddCompletion(app, shell);
  CLI::App* manual_app = app.add_subcommand("man", "Prints the manual page");
  manual_app->footer("Examples:\n  kvasir man | man -l -");
  try {  // The library throws.
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    if (argc > 1 && argv[1][0] != '-' && !HasCommand(app, argv[1])) {
      std::fprintf(stderr, "kvasir: there is no command '%s' (try --help)\n", argv[1]);
      return 1;
    }
    std::fprintf(stderr, "kvasir: %s (try --help)\n", error.what());
    return 1;
  }
  if (completion_app->parsed()) {
    return Print(shell == "bash" ? BashCompletion(app) : ZshCompletion(app));
  }
  if (manual_app->parsed()) {
    return Print(ManualPage(app, std::string("kvasir ") + KVASIR_VERSION, kExitCodes));
  }
  if (generate_app->parsed()) return generate.Run();
  if (chat_app->parsed()) return chat.Run();
  if (sessions_app->parsed()) return sessions.Run();
  if (pull_app->parsed()) return pull.Run();
  return bench.Run();
}

}  // namespace
}  // namespace kvasir::cli

int main(int argc, char** argv) { return kvasir::cli::Main(argc, argv); }
