#ifndef KVASIR_SERVICES_CLI_BENCH_H_
#define KVASIR_SERVICES_CLI_BENCH_H_

#include <vector>

#include "engine/engine.h"

namespace kvasir::cli {

struct BenchOptions {
  EngineOptions engine;
  std::vector<int> batches = {1, 4, 8, 16};  // Sequences at a time.
  int prompt = 512;                          // Tokens that each processes.
  int generate = 128;                        // Tokens that each then generates.
  int depth = 0;                             // Tokens that each holds before the prompt.
  int arrival = 0;                           // Tokens of a prompt that arrives while they decode.
  bool json = false;                         // Else a table.
};

// Measures the engine in this process, without gRPC, batch size by batch size, and prints a row for
// each. Returns the program's exit code; what is wrong is told on stderr.
//
// Prefill: `batch` calls at once, each with `prompt` tokens at random, until each has its first
// new token. Decode: `generate` tokens more for each, timed as a whole; the part of that time which
// sampling takes, and what each step costs around the model and sampling. Arrival: how long the
// gaps between two tokens of decoding sessions become while a prompt that arrives is read, and the
// usual ones before and after. Peak resident memory is that of the process while the row was
// measured; in JSON also while the model was loaded.
int RunBench(const BenchOptions& options);

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_BENCH_H_
