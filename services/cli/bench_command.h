#ifndef KVASIR_SERVICES_CLI_BENCH_COMMAND_H_
#define KVASIR_SERVICES_CLI_BENCH_COMMAND_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "services/cli/bench.h"

namespace kvasir::cli {

// `kvasir bench`: how fast the engine is here, without any service.
class BenchCommand {
 public:
  BenchCommand();

  // Returns the sub-command. REQUIRES: this outlives `app`.
  CLI::App* AddTo(CLI::App& app);
  // Returns the program's exit code.
  int Run();

 private:
  BenchOptions options_;
  std::string model_;
  std::string dtype_ = "auto";
  uint64_t kv_memory_ = 0;
  bool kernels_ = false;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_BENCH_COMMAND_H_
