#ifndef KVASIR_TESTS_ENGINE_PARITY_LAYER_COMPARISON_H_
#define KVASIR_TESTS_ENGINE_PARITY_LAYER_COMPARISON_H_

#include <map>
#include <string>
#include <vector>

#include "tests/engine/parity/golden.h"
#include "tests/engine/parity/teacher_forcing.h"

namespace kvasir {

// What a right implementation computes at each of Qwen3's probes, while it reads `tokens`.
struct LayerValues {
  struct Value {
    std::vector<float> data;  // [T, hidden]
    // The mean |error| that bf16 arithmetic makes here, in transformers; what bf16 is held to.
    double bf16_error = 0;
  };
  std::vector<int> tokens;  // [T]
  std::map<std::string, Value, std::less<>> probes;
};

// Reads what tests/golden/dump_layers.py wrote.
absl::StatusOr<LayerValues> LoadLayerValues(const std::filesystem::path& path);

struct ProbeError {
  std::string name;
  Distance distance;
  double rms = 0;  // of the right values
  bool good = false;
};

// Reads the tokens in one piece and compares every probe, in the order of the forward pass. Good
// is, as in the gate: f32, no value further off than 1e-4 of the probe's rms; bf16, a mean error no
// larger than 1.1 times bf16_error. A probe that `right` lacks is bad.
std::vector<ProbeError> CompareLayers(TeacherForcing& forcing, DType dtype,
                                      const LayerValues& right);

}  // namespace kvasir

#endif  // KVASIR_TESTS_ENGINE_PARITY_LAYER_COMPARISON_H_
