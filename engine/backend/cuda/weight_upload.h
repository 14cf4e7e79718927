#ifndef KVASIR_ENGINE_BACKEND_CUDA_WEIGHT_UPLOAD_H_
#define KVASIR_ENGINE_BACKEND_CUDA_WEIGHT_UPLOAD_H_

#include <cuda_runtime.h>

#include <array>
#include <memory>
#include <span>

#include "engine/backend/backend.h"
#include "engine/backend/cuda/device.h"

namespace kvasir::cuda {

// Brings matrices of a checkpoint to the device by way of two page-locked buffers in turn: while
// one is copied, the host fills the other. What is read of the source has been read when a call
// returns.
class WeightUpload {
 public:
  explicit WeightUpload(cudaStream_t stream);
  ~WeightUpload();
  // Before all else.
  absl::Status Allocate();

  // A weight on the device is [N, K] bf16, row-major, and `to` has room for it.
  // The parts stacked along N.
  void Stack(std::span<const HostMatrix> parts, void* to);
  // The rows of both by turns of kGateRows.  REQUIRES: equal shapes, rows % kGateRows == 0.
  void Interleave(const HostMatrix& gate, const HostMatrix& up, void* to);
  // A vector as f32.
  void Vector(const HostMatrix& vector, void* to);

  static constexpr int kGateRows = 8;

 private:
  // Converts row by row into staging memory, and on to `to`.
  template <typename RowOf>
  void Rows(int rows, int cols, char* to, const RowOf& row_of);

  static constexpr size_t kStagingBytes = size_t{16} << 20;
  cudaStream_t stream_;
  struct Staging {
    std::unique_ptr<PinnedBuffer> memory;
    cudaEvent_t copied = nullptr;
  };
  std::array<Staging, 2> staging_;
  int turn_ = 0;
};

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_WEIGHT_UPLOAD_H_
