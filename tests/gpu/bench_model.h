// A Qwen3 of a wanted shape with random weights on a GPU, and steps of it made by hand: what
// gpu_bench measures.
#ifndef KVASIR_TESTS_GPU_BENCH_MODEL_H_
#define KVASIR_TESTS_GPU_BENCH_MODEL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/batch.h"
#include "engine/model/config.h"
#include "engine/model/qwen3.h"
#include "engine/model/weights.h"
#include "engine/open_backend.h"
#include "tests/engine/backend/graph_switch.h"

namespace kvasir {

// "0.6b", "4b": as they were published. "tiny": for a try where the GPU is emulated.
std::optional<ModelConfig> ShapeNamed(std::string_view name);

// A step over sequences that are all alike. Decode: one row each.
struct StepShape {
  int sequences = 1;
  int depth = 0;  // keys in the cache before the step, of each
  int rows = 1;   // read by the step, of each

  int num_rows() const { return sequences * rows; }
  int context() const { return depth + rows; }
  int blocks_each() const { return (context() + kBlockTokens - 1) / kBlockTokens; }
  int64_t blocks() const { return int64_t{sequences} * blocks_each(); }
};

// What a step must do at the least, whoever computes it.
struct StepWork {
  double bytes = 0;  // every weight once and every key and value once
  double flops = 0;  // of the matrix products and of attention
};

class BenchModel {
 public:
  // As the service starts where nobody asks for anything else, with room for each of `steps` as far
  // as the device's memory goes. `choice` needs to say what the GPU and its library are, and no
  // more.
  static absl::StatusOr<std::unique_ptr<BenchModel>> Create(const ModelConfig& config,
                                                            const std::vector<StepShape>& steps,
                                                            BackendChoice choice);

  const Backend& backend() const { return *backend_; }
  StepWork WorkOf(const StepShape& step) const;
  bool Fits(const StepShape& step) const {
    return step.blocks() <= static_cast<int64_t>(block_order_.size());
  }

  // What Enqueue runs from now on.  REQUIRES: Fits(step), and one of Create's steps; where it has
  // more rows than a step of the service, of one sequence.
  void Prepare(const StepShape& step);
  // Steps that the service makes of it: a long prompt is read piece by piece.
  int pieces() const { return static_cast<int>(pieces_.size()); }
  // Whether steps that have been recorded are launched as a whole.
  void set_graphs(bool graphs) { backend_->set_graphs(graphs); }
  // The next piece: the forward pass, and after the last one a token drawn for every sequence.
  void Enqueue();
  // Until the oldest step that nobody has waited for has run.
  void Wait() { (void)backend_->Collect(); }

  // Seconds of start-up, and bytes on the device.
  struct Start {
    double load_seconds = 0;
    double prepare_seconds = 0;  // choosing algorithms, recording graphs
    int64_t weight_bytes = 0;
    int64_t workspace_bytes = 0;
    int64_t kv_bytes = 0;
  };
  const Start& start() const { return start_; }

 private:
  explicit BenchModel(const ModelConfig& config) : config_(config) {}
  absl::Status Load(const std::vector<StepShape>& steps, BackendChoice choice);
  // A pool for the largest of the steps that the memory has room for, full of random numbers: zeros
  // take less power, and so less time.
  absl::Status AllocateKv(const std::vector<StepShape>& steps, const std::vector<uint16_t>& random);

  const ModelConfig config_;
  std::unique_ptr<GraphSwitch> backend_;
  Weights weights_;
  std::unique_ptr<Qwen3> model_;
  std::vector<int> block_order_;  // all blocks, shuffled: a sequence's do not lie side by side
  void AddRows(const StepShape& step, int sequence, int begin, int end, Batch& batch) const;
  int max_rows_ = 0;  // of a step
  std::vector<Batch> pieces_;
  size_t next_ = 0;
  SamplingParams sampling_;
  std::vector<SamplingRow> rows_;
  Start start_;
};

}  // namespace kvasir

#endif  // KVASIR_TESTS_GPU_BENCH_MODEL_H_
