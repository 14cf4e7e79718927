#ifndef KVASIR_SERVICES_CLI_KERNEL_BENCH_H_
#define KVASIR_SERVICES_CLI_KERNEL_BENCH_H_

namespace kvasir::cli {

// Prints the rates of every kernel set that this CPU has, in the order of preference: operations a
// second of a matrix product of 512 rows, bytes of weights a second of one of 1 row; as a table, or
// as a JSON array. Returns the program's exit code.
int RunKernelBench(int threads, bool json);

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_KERNEL_BENCH_H_
