#ifndef KVASIR_ENGINE_BACKEND_ROPE_TABLE_H_
#define KVASIR_ENGINE_BACKEND_ROPE_TABLE_H_

#include <vector>

namespace kvasir {

// cos and sin of position * theta^(-2i/D), i in [0, D/2) (Su et al. 2021), computed in double and
// rounded once. A position is 256 a + b: both parts are looked up and joined by the addition
// theorem, so that a step takes no trigonometry and the tables stay small at any context length.
class RopeTable {
 public:
  // REQUIRES: theta > 0, head_dim even.
  RopeTable(double theta, int head_dim);

  // cos, sin: [count, D / 2]. REQUIRES: positions >= 0.
  void Fill(const int* positions, int count, float* cos, float* sin);

  struct Angle {
    double cos = 1;
    double sin = 0;
  };
  static constexpr int kFine = 256;
  // Both parts of all positions below `positions`, for who joins them elsewhere.
  const std::vector<Angle>& fine() const { return fine_; }  // [kFine, D / 2]
  const std::vector<Angle>& CoarseUpTo(int positions);      // [at least positions / kFine, D / 2]

 private:
  void AppendCoarse();

  int half_;
  std::vector<double> frequency_;  // [D / 2]
  std::vector<Angle> fine_;        // [256, D / 2]
  std::vector<Angle> coarse_;      // [positions seen / 256, D / 2]
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_BACKEND_ROPE_TABLE_H_
