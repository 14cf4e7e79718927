#ifndef KVASIR_ENGINE_BACKEND_CUDA_STEP_STAGING_H_
#define KVASIR_ENGINE_BACKEND_CUDA_STEP_STAGING_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "engine/backend/cuda/attention_plan.h"
#include "engine/backend/cuda/device.h"

namespace kvasir::cuda {

// The largest step.
struct StepLimits {
  int tokens = 0;
  int sequences = 0;
  int logits = 0;
  int max_positions = 0;
};

// Brings what differs between steps to the device, by one copy into arrays that never move: a
// recorded graph reads them again.
class StepStaging {
 public:
  StepStaging(const StepLimits& limits, const AttentionGrid& grid, const AttentionRoom& room);
  // Before all else.
  absl::Status Allocate(DeviceMemory& memory);

  // Enqueues the batch with its attention plan, with rows of padding up to `rows`: token 0, no
  // slot, no sequence. Each of them has logits where every row has.
  // REQUIRES: the copy before the last one has been made: of the steps at most one is under way.
  void Stage(const Batch& batch, int rows, cudaStream_t stream);
  // A step of padding alone, `logits` of its rows with logits.
  void StagePadding(int rows, int logits, cudaStream_t stream);
  // For a step that is recorded: it will have tiles of single rows, though this one has none.
  void ExpectDecodeTiles() { has_few_ = true; }

  const DeviceBatch& batch() const { return batch_; }
  struct Tiles {
    const AttentionTile* tiles = nullptr;  // on the device
    const int* count = nullptr;
    bool any = false;  // as the host knows
  };
  Tiles few() const { return {few_, few_count_, has_few_}; }
  Tiles many() const { return {many_, many_count_, has_many_}; }

  static size_t Bytes(const StepLimits& limits, const AttentionRoom& room);

 private:
  // Where the arrays lie; the same in host memory and on the device. What varies comes last and
  // close together, so that no more is copied than is used: tiles of few rows, block tables, tiles
  // of many. Tiles know where their tables are.
  struct Layout {
    size_t tokens, positions, slots, logit_rows, counts, varying, end;
  };
  static Layout LayoutOf(const StepLimits& limits, const AttentionRoom& room);
  template <typename T>
  T* Host(size_t offset) {
    return reinterpret_cast<T*>(static_cast<char*>(host_[turn_]->data()) + offset);
  }
  template <typename T>
  T* OnDevice(size_t offset) {
    return reinterpret_cast<T*>(static_cast<char*>(device_->data()) + offset);
  }
  // The other host memory is filled from now on.
  void Turn();
  // Returns the bytes that are used.
  size_t Fill(const Batch& batch, int rows);
  void FillPadding(int begin, int end, int first_logit);
  // The tiles at offset `to`, with their sequences' block tables from offset `tables` on.
  void PlaceTiles(const Batch& batch, size_t tables, const std::vector<AttentionTile>& tiles,
                  size_t to);

  const StepLimits limits_;
  const AttentionGrid grid_;
  const AttentionRoom room_;
  const Layout layout_;
  std::unique_ptr<PinnedBuffer> host_[2];  // by turns: the step before may not be copied yet
  int turn_ = 0;
  std::unique_ptr<Buffer> device_;
  AttentionPlan plan_;
  DeviceBatch batch_;
  const AttentionTile* few_ = nullptr;
  const AttentionTile* many_ = nullptr;  // of the last step
  int* few_count_ = nullptr;
  int* many_count_ = nullptr;
  bool has_few_ = false;
  bool has_many_ = false;
};

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_STEP_STAGING_H_
