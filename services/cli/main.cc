// kvasir: the client of both services, the engine's benchmark, and what fetches models.
#include <grpc/support/log.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "services/cli/bench_command.h"
#include "services/cli/chat_command.h"
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
    "`kvasir COMMAND --help` has more.";

// What a user needs to know of gRPC is in the statuses that we print.
void Discard(gpr_log_func_args*) {}

bool HasCommand(CLI::App& app, const std::string& name) {
  const std::vector<CLI::App*> commands =
      app.get_subcommands([&](CLI::App* command) { return command->get_name() == name; });
  return !commands.empty();
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
  if (generate_app->parsed()) return generate.Run();
  if (chat_app->parsed()) return chat.Run();
  if (sessions_app->parsed()) return sessions.Run();
  if (pull_app->parsed()) return pull.Run();
  return bench.Run();
}

}  // namespace
}  // namespace kvasir::cli

int main(int argc, char** argv) { return kvasir::cli::Main(argc, argv); }
