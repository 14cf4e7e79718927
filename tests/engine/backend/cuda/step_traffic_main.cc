// Prints what steps of Qwen3-4B ask of memory, as the emulator counts it.
//
//   cuda_step_traffic BATCH ROWS CONTEXT   one step, kernel by kernel
//   cuda_step_traffic --all                every table of docs/cuda.md that is counted or
//   predicted;
//                                          exit code 1 where a goal is missed. Takes long.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/engine/backend/cuda/step_traffic.h"
#include "tests/engine/backend/cuda/step_traffic_report.h"

namespace kvasir::cuda {
namespace {

int PrintStep(const StepShape& shape) {
  const Traffic step = CountWholeStep(shape);
  std::printf("%d x %d rows, context %d, %d layers from one and two\n\n", shape.batch, shape.rows,
              shape.context, kLayers);
  PrintKernels(step);
  for (const auto& [name, counts] : step) {
    for (const auto& [line, extra] : counts.conflict_lines) {
      std::fprintf(stderr, "%s: %llu more wavefronts at %s\n", name.c_str(),
                   static_cast<unsigned long long>(extra), line.c_str());
    }
    for (const auto& [line, bytes] : counts.narrow_load_lines) {
      std::fprintf(stderr, "%s: of its bytes %.1f %% are no full loads, at %s\n", name.c_str(),
                   100.0 * double(bytes) / double(counts.load_bytes), line.c_str());
    }
  }
  const double least = double(LeastBytes(Qwen3Of4B(kLayers), shape));
  std::printf("\nLeast: %.2f MB; distinct read and written: %.4f x; requested: %.4f x.\n",
              least * 1e-6, DistinctBytes(step) / least, RequestedBytes(step) / least);
  return 0;
}

}  // namespace
}  // namespace kvasir::cuda

int main(int argc, char** argv) {
  using namespace kvasir::cuda;  // NOLINT(google-build-using-namespace): this file's own
  if (argc == 2 && std::strcmp(argv[1], "--all") == 0) return PrintAll() ? 0 : 1;
  if (argc == 4) return PrintStep({std::atoi(argv[1]), std::atoi(argv[2]), std::atoi(argv[3])});
  std::fprintf(stderr, "Usage: cuda_step_traffic BATCH ROWS CONTEXT | --all\n");
  return 2;
}
