#ifndef KVASIR_TESTS_ENGINE_PARITY_TEACHER_FORCING_H_
#define KVASIR_TESTS_ENGINE_PARITY_TEACHER_FORCING_H_

#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/model/config.h"
#include "engine/model/qwen3.h"
#include "engine/model/weights.h"
#include "engine/open_backend.h"
#include "tests/engine/parity/golden.h"

namespace kvasir {

// How a sequence is cut into steps.
enum class Cut {
  kOnePiece,
  kChunks,        // of random sizes on a warm cache, another sequence in the batch
  kSingleTokens,  // one a step
};
inline constexpr Cut kCuts[] = {Cut::kOnePiece, Cut::kChunks, Cut::kSingleTokens};
const char* NameOf(Cut cut);

using WrapBackend =
    std::function<std::unique_ptr<Backend>(std::unique_ptr<Backend>, const ModelConfig&)>;

// The CPU with one kernel set.
BackendChoice CpuChoice(DType dtype, const std::string& kernel);
// A GPU by the library `plugin`.
BackendChoice GpuChoice(const std::string& plugin, bool deterministic);

// A checkpoint on a backend with a paged cache: what the engine does around Qwen3::Forward, as
// plainly as it can be said. Reads given tokens; draws none.
class TeacherForcing {
 public:
  // Room for two sequences of up to `positions` tokens. What `choice` says of the model is filled
  // in. FAILED_PRECONDITION where this CPU has not got the kernel set. `wrap` may put a backend of
  // its own around the one that was chosen.
  static absl::StatusOr<std::unique_ptr<TeacherForcing>> Load(
      const std::filesystem::path& model_dir, int positions, BackendChoice choice,
      const WrapBackend& wrap = nullptr);

  // The distance of this model's log-probabilities from the golden ones, over the first
  // `positions`. Starts from a cache full of NaN. REQUIRES: no more than Load has room for.
  Distance Measure(const Golden& golden, Cut cut, int positions);
  Distance Measure(const Golden& golden, Cut cut) {
    return Measure(golden, cut, golden.positions());
  }

  const ModelConfig& config() const { return config_; }
  Qwen3& model() { return *model_; }
  // Reads all of `tokens` in one step.
  void ReadOnePiece(std::span<const int> tokens);

 private:
  struct Sequence {
    std::vector<int> tokens;
    std::vector<int> blocks;
    int cached = 0;
    int remaining() const { return static_cast<int>(tokens.size()) - cached; }
  };
  // The next `count` tokens of a sequence.
  struct Chunk {
    Sequence* sequence;
    int count;
  };
  using VisitLogits = std::function<void(int position, std::span<const float> logits)>;

  TeacherForcing() = default;
  Sequence Start(std::span<const int> tokens);
  void Free(Sequence& sequence);
  // All blocks free, in an order that is not the natural one, and full of NaN.
  void ResetCache();
  // One step over `chunks`; `visit` sees every row of `watched`.
  void Step(std::span<const Chunk> chunks, const Sequence& watched, const VisitLogits& visit);
  void RunChunks(Sequence& watched, const VisitLogits& visit);

  int positions_ = 0;
  ModelConfig config_;
  std::unique_ptr<Backend> backend_;
  Weights weights_;
  std::unique_ptr<Qwen3> model_;
  std::vector<int> free_blocks_;
  std::vector<float> logits_;  // [R, vocab] of the last step
  std::mt19937 random_;
};

}  // namespace kvasir

#endif  // KVASIR_TESTS_ENGINE_PARITY_TEACHER_FORCING_H_
