#ifndef KVASIR_TESTS_ENGINE_PARITY_GOLDEN_H_
#define KVASIR_TESTS_ENGINE_PARITY_GOLDEN_H_

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace kvasir {

// |value - reference| over many entries. A NaN or an infinity in either makes max and mean
// infinite for good: nothing compares below that.
class Distance {
 public:
  void Add(double value, double reference) {
    const double difference = std::abs(value - reference);
    ++count_;
    if (!std::isfinite(difference)) {
      max_ = sum_ = std::numeric_limits<double>::infinity();
      return;
    }
    max_ = std::max(max_, difference);
    sum_ += difference;
  }
  int64_t count() const { return count_; }
  double max() const { return max_; }
  // Infinite where nothing was compared.
  double mean() const {
    return count_ > 0 ? sum_ / double(count_) : std::numeric_limits<double>::infinity();
  }

 private:
  int64_t count_ = 0;
  double max_ = 0;
  double sum_ = 0;
};

// What Hugging Face transformers computes for one checkpoint, and how far its own bf16 is from
// that. Written by tests/golden/make_golden.py, which says what the entries are.
struct Golden {
  std::string name;
  std::filesystem::path model_dir;
  std::vector<int> tokens;      // [T]
  std::vector<int> ids;         // [T, entries] the ids looked at after each token
  std::vector<float> logprobs;  // [T, entries] transformers fp32
  double bf16_mean = 0;         // mean distance of transformers bf16 from `logprobs`
  double exact_max = 0;         // max distance of exact arithmetic from `logprobs`
  int entries = 0;              // per position

  int positions() const { return static_cast<int>(tokens.size()); }
  // Adds one position's entries to `distance`. logits: [vocab]
  void Compare(int position, std::span<const float> logits, Distance& distance) const;

  // The numerics gate. f32: no entry further than 1e-4; bf16: on average no further than 1.1 times
  // what transformers bf16 is. False unless every entry was compared.
  bool PassesF32(const Distance& distance) const;
  bool PassesBf16(const Distance& distance) const;
};

inline constexpr double kF32Tolerance = 1e-4;
inline constexpr double kBf16Tolerance = 1.1;

// Folders of tests/golden that hold a golden file, sorted.
std::vector<std::string> GoldenNames();
// Aborts where the file is damaged: it is ours.
Golden LoadGolden(const std::string& name);
// The golden.safetensors of `folder`, made from the checkpoint in `model_dir`. Aborts likewise.
Golden ReadGolden(const std::string& name, const std::filesystem::path& folder,
                  const std::filesystem::path& model_dir);

}  // namespace kvasir

#endif  // KVASIR_TESTS_ENGINE_PARITY_GOLDEN_H_
