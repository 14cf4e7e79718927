#ifndef KVASIR_ENGINE_BACKEND_CUDA_DECODE_GRAPHS_H_
#define KVASIR_ENGINE_BACKEND_CUDA_DECODE_GRAPHS_H_

#include <cuda_runtime.h>

#include <map>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace kvasir::cuda {

// A step in which every sequence has one row, recorded once for some numbers of rows: launching it
// again is one call in place of hundreds. Everything that differs between steps lies in device
// memory.
class DecodeGraphs {
 public:
  // The least number of rows that a graph is recorded for and that holds `rows`, where the largest
  // step has `max_rows`: 1, 2, 4, 8, 12, 16, 24, 32, 48 ... 256. 0: none does.
  static int PaddedRows(int rows, int max_rows);

  DecodeGraphs() = default;
  ~DecodeGraphs();
  DecodeGraphs(const DecodeGraphs&) = delete;
  DecodeGraphs& operator=(const DecodeGraphs&) = delete;

  // Records what `enqueue` puts on the stream and brings it to the device; nothing is run.
  // RESOURCE_EXHAUSTED where the device has no memory for it.
  // REQUIRES: the same has been run before, so that nothing in it is there for the first time.
  absl::Status Record(int rows, cudaStream_t stream, absl::FunctionRef<void()> enqueue);
  // False: nothing has been recorded for so many rows.
  bool Launch(int rows, cudaStream_t stream) const;

 private:
  std::map<int, cudaGraphExec_t> graphs_;
};

}  // namespace kvasir::cuda

#endif  // KVASIR_ENGINE_BACKEND_CUDA_DECODE_GRAPHS_H_
