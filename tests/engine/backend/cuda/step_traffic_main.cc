// Prints what a step of Qwen3-4B asks of memory, kernel by kernel, as the emulator counts it.
// Usage: cuda_step_traffic BATCH ROWS CONTEXT
#include <cstdio>
#include <cstdlib>

#include "tests/engine/backend/cuda/step_traffic.h"

namespace kvasir::cuda {
namespace {

constexpr int kLayers = 36;

void Print(const char* name, const simt::KernelCounts& c) {
  const double bytes = simt::kSectorBytes * 1e-6;
  std::printf("| %s | %llu | %.2f | %.2f | %.2f | %.1f %% | %llu | %.3f |\n", name,
              static_cast<unsigned long long>(c.launches), double(c.distinct_load_sectors) * bytes,
              double(c.load_sectors) * bytes, double(c.distinct_store_sectors) * bytes,
              c.load_bytes > 0 ? 100.0 * double(c.full_load_bytes) / double(c.load_bytes) : 0.0,
              static_cast<unsigned long long>(c.bank_conflicts), double(c.tensor_flops) * 1e-9);
}

int Main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "Usage: cuda_step_traffic BATCH ROWS CONTEXT\n");
    return 2;
  }
  const StepShape shape = {std::atoi(argv[1]), std::atoi(argv[2]), std::atoi(argv[3])};
  const Traffic one = CountStep(Qwen3Of4B(1), shape);
  const Traffic two = CountStep(Qwen3Of4B(2), shape);
  const Traffic step = ScaleLayers(one, two, kLayers);
  std::printf("%d x %d rows, context %d, %d layers from one and two\n\n", shape.batch, shape.rows,
              shape.context, kLayers);
  std::printf(
      "| kernel | launches | distinct MB read | requested MB read | distinct MB written | full "
      "16-byte loads | bank conflicts | tensor GFLOP "
      "|\n|---|---:|---:|---:|---:|---:|---:|---:|\n");
  for (const auto& [name, counts] : step) {
    Print(name.c_str(), counts);
    for (const auto& [line, extra] : counts.conflict_lines) {
      std::fprintf(stderr, "%s: %llu more wavefronts at %s\n", name.c_str(),
                   static_cast<unsigned long long>(extra), line.c_str());
    }
  }
  const simt::KernelCounts sum = Sum(step);
  Print("all", sum);
  const double least = double(LeastBytes(Qwen3Of4B(kLayers), shape));
  std::printf(
      "\nLeast: %.2f MB; distinct read and written: %.4f x; requested: %.4f x.\n", least * 1e-6,
      double(sum.distinct_load_sectors + sum.distinct_store_sectors) * simt::kSectorBytes / least,
      double(sum.load_sectors + sum.store_sectors) * simt::kSectorBytes / least);
  return 0;
}

}  // namespace
}  // namespace kvasir::cuda

int main(int argc, char** argv) { return kvasir::cuda::Main(argc, argv); }
