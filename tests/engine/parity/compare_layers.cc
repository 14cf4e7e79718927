// compare_layers: finds the first layer whose values differ from transformers'.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "tests/engine/parity/layer_comparison.h"
#include "tests/engine/parity/teacher_forcing.h"

namespace kvasir {
namespace {

int Run(const std::string& model_dir, const std::string& dump, DType dtype,
        const std::string& kernel) {
  const absl::StatusOr<LayerValues> right = LoadLayerValues(dump);
  if (!right.ok()) {
    std::fprintf(stderr, "%s\n", right.status().ToString().c_str());
    return 1;
  }
  const auto forcing = TeacherForcing::Load(model_dir, static_cast<int>(right->tokens.size()),
                                            CpuChoice(dtype, kernel));
  if (!forcing.ok()) {
    std::fprintf(stderr, "%s\n", forcing.status().ToString().c_str());
    return 1;
  }
  std::printf("%-16s %10s %10s %10s\n", "probe", "max", "mean", "rms");
  std::string first_bad;
  for (const ProbeError& error : CompareLayers(**forcing, dtype, *right)) {
    std::printf("%-16s %10.1e %10.1e %10.1e%s\n", error.name.c_str(), error.distance.max(),
                error.distance.mean(), error.rms, error.good ? "" : "  BAD");
    if (!error.good && first_bad.empty()) first_bad = error.name;
  }
  if (first_bad.empty()) {
    std::printf("every layer is good\n");
    return 0;
  }
  std::printf("first bad: %s\n", first_bad.c_str());
  return 1;
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) {
  CLI::App app(
      "Compares every layer of a model with what tests/golden/dump_layers.py wrote, and names the "
      "first bad one (exit code 1).");
  std::string model_dir, dump, kernel = "auto";
  kvasir::DType dtype = kvasir::DType::kF32;
  app.add_option("model", model_dir, "model directory")->required()->check(CLI::ExistingDirectory);
  app.add_option("dump", dump, "file of dump_layers.py")->required()->check(CLI::ExistingFile);
  app.add_option("--dtype", dtype, "f32 (default) or bf16")
      ->transform(CLI::CheckedTransformer(std::map<std::string, kvasir::DType>{
          {"f32", kvasir::DType::kF32}, {"bf16", kvasir::DType::kBf16}}));
  app.add_option("--kernel", kernel, "kernel set: auto, amx, avx512bf16, avx512, avx2");
  CLI11_PARSE(app, argc, argv);
  return kvasir::Run(model_dir, dump, dtype, kernel);
}
