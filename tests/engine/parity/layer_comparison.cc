#include "tests/engine/parity/layer_comparison.h"

#include <cmath>
#include <utility>

#include "engine/check.h"
#include "tests/engine/parity/float_tensors.h"

namespace kvasir {

absl::StatusOr<LayerValues> LoadLayerValues(const std::filesystem::path& path) {
  absl::StatusOr<FloatTensors> tensors = ReadFloatTensors(path);
  if (!tensors.ok()) return tensors.status();
  LayerValues values;
  constexpr std::string_view kError = ".bf16_error";
  for (auto& [name, data] : *tensors) {
    if (name == "tokens") {
      values.tokens.assign(data.begin(), data.end());
    } else if (name.ends_with(kError)) {
      values.probes[name.substr(0, name.size() - kError.size())].bf16_error = data.at(0);
    } else {
      values.probes[name].data = std::move(data);
    }
  }
  return values;
}

std::vector<ProbeError> CompareLayers(TeacherForcing& forcing, DType dtype,
                                      const LayerValues& right) {
  std::vector<ProbeError> errors;
  forcing.model().set_probe([&](std::string_view name, Tensor value) {
    ProbeError error;
    error.name = name;
    const auto found = right.probes.find(name);
    const size_t count = size_t(value.rows) * value.cols;
    if (found != right.probes.end() && found->second.data.size() == count) {
      double squares = 0;
      for (size_t i = 0; i < count; ++i) {
        const float wanted = found->second.data[i];
        error.distance.Add(
            value.dtype == DType::kF32 ? value.as<float>()[i] : ToFloat(value.as<BFloat16>()[i]),
            wanted);
        squares += double(wanted) * wanted;
      }
      error.rms = std::sqrt(squares / double(count));
      error.good = dtype == DType::kF32
                       ? error.distance.max() <= kF32Tolerance * error.rms
                       : error.distance.mean() <= kBf16Tolerance * found->second.bf16_error;
    }
    errors.push_back(std::move(error));
  });
  forcing.ReadOnePiece(right.tokens);
  forcing.model().set_probe(nullptr);
  return errors;
}

}  // namespace kvasir
