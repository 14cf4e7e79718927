#ifndef KVASIR_ENGINE_BACKEND_CUDA_SAMPLE_STAGING_H_
#define KVASIR_ENGINE_BACKEND_CUDA_SAMPLE_STAGING_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels.h"
#include "engine/sampler.h"

namespace kvasir::cuda {

// A row's wishes but for biases and history, which lie in arrays of the step.
SampleRow WishesOf(const SamplingRow& row);

// Draws the next tokens on the device: brings the rows' wishes there and a few bytes a row back. A
// row whose biases or whose history of penalties find no room there is drawn by the host, which is
// slow and gives what the CPU backend gives.
class SampleStaging {
 public:
  // At most `rows` rows a step.
  SampleStaging(int rows, int vocab);
  ~SampleStaging();
  // Before all else.
  absl::Status Allocate(DeviceMemory& memory);

  // Enqueues. logits: [R, V] f32 on the device, overwritten.
  // REQUIRES: at most one Sample is not collected yet, and the host draws none of its rows.
  void Sample(float* logits, std::span<const SamplingRow> rows, cudaStream_t stream);
  // Waits for what the oldest Sample that is not collected, and everything before it, has enqueued.
  std::span<const SampledToken> Collect();
  // Whether sampled() holds all ids of the last Sample once the stream is there.
  bool drawn_on_device() const { return host_rows_.empty(); }

  // Ids of the step before, by the order of its rows: on the device.
  const int* sampled() const { return sampled_; }

  // Of each buffer on the device.
  static std::vector<size_t> Bytes(int rows, int vocab);

 private:
  // The wishes lie in one block of memory: rows, biases, and behind those of this step its history.
  // Only what is used is copied.
  struct Layout {
    size_t bias, end;
  };
  static Layout LayoutOf(int rows);
  // Of all rows of a step.
  static constexpr size_t kMaxBias = 16384;
  static constexpr size_t kMaxHistory = size_t{1} << 20;
  // What one Sample needs of the host until it is collected; two take turns.
  struct Slot {
    std::unique_ptr<PinnedBuffer> wishes;
    std::unique_ptr<PinnedBuffer> results;  // [rows] SampleResult
    cudaEvent_t done = nullptr;
    int count = 0;
  };
  void DrawOnHost();

  const int max_rows_;
  const int vocab_;
  const Layout layout_;
  Slot slots_[2];
  int newest_ = 0;
  int waiting_ = 0;  // Samples that are not collected
  std::unique_ptr<Buffer> device_wishes_;
  std::unique_ptr<Buffer> device_results_;
  std::unique_ptr<Buffer> counts_;  // [rows, V]
  std::unique_ptr<Buffer> sampled_buffer_;
  int* sampled_ = nullptr;
  // Of the last Sample.
  float* logits_ = nullptr;
  cudaStream_t stream_ = nullptr;
  struct HostRow {
    int index;
    SamplingRow row;
  };
  std::vector<HostRow> host_rows_;
  std::vector<float> host_logits_;  // [V]
  SamplerScratch scratch_;
  std::vector<SampledToken> tokens_;  // keeps its capacity, and its elements theirs
};

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_SAMPLE_STAGING_H_
