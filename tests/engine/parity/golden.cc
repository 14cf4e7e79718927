#include "tests/engine/parity/golden.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "engine/check.h"
#include "tests/engine/parity/float_tensors.h"

namespace kvasir {
namespace {

const std::filesystem::path kSource = KVASIR_SOURCE_DIR;

double LogSumExp(std::span<const float> logits) {
  double max = -std::numeric_limits<double>::infinity();
  for (const float logit : logits) max = std::max<double>(max, logit);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - max);
  return max + std::log(sum);
}

}  // namespace

std::vector<std::string> GoldenNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kSource / "tests/golden")) {
    if (std::filesystem::exists(entry.path() / "golden.safetensors")) {
      names.push_back(entry.path().filename());
    }
  }
  std::ranges::sort(names);
  return names;
}

Golden LoadGolden(const std::string& name) {
  const std::filesystem::path folder = kSource / "tests/golden" / name;
  const bool own_checkpoint = std::filesystem::exists(folder / "config.json");
  return ReadGolden(name, folder, own_checkpoint ? folder : kSource / "models" / name);
}

Golden ReadGolden(const std::string& name, const std::filesystem::path& folder,
                  const std::filesystem::path& model_dir) {
  Golden golden;
  golden.name = name;
  golden.model_dir = model_dir;
  absl::StatusOr<FloatTensors> tensors = ReadFloatTensors(folder / "golden.safetensors");
  KVASIR_CHECK(tensors.ok());
  const std::vector<float>& tokens = (*tensors)["tokens"];
  const std::vector<float>& ids = (*tensors)["ids"];
  const std::vector<float>& distance = (*tensors)["distance"];
  golden.logprobs = (*tensors)["logprobs"];
  KVASIR_CHECK(!tokens.empty() && !ids.empty() && ids.size() % tokens.size() == 0);
  KVASIR_CHECK(golden.logprobs.size() == ids.size() && distance.size() == 4);
  golden.tokens.assign(tokens.begin(), tokens.end());
  golden.ids.assign(ids.begin(), ids.end());
  golden.entries = static_cast<int>(ids.size() / tokens.size());
  golden.bf16_mean = distance[0];
  golden.exact_max = distance[3];
  return golden;
}

void Golden::Compare(int position, std::span<const float> logits, Distance& distance) const {
  const double normalizer = LogSumExp(logits);
  for (int e = 0; e < entries; ++e) {
    const size_t at = size_t(position) * entries + e;
    KVASIR_CHECK(ids[at] < static_cast<int>(logits.size()));
    distance.Add(logits[ids[at]] - normalizer, logprobs[at]);
  }
}

bool Golden::PassesF32(const Distance& distance) const {
  return distance.count() == int64_t(ids.size()) && distance.max() <= kF32Tolerance;
}

bool Golden::PassesBf16(const Distance& distance) const {
  return distance.count() == int64_t(ids.size()) && distance.mean() <= kBf16Tolerance * bf16_mean;
}

}  // namespace kvasir
