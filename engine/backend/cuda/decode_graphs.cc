#include "engine/backend/cuda/decode_graphs.h"

#include "absl/strings/str_cat.h"
#include "engine/backend/cuda/device.h"

namespace kvasir::cuda {
namespace {

constexpr int kSizes[] = {1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256};

}  // namespace

int DecodeGraphs::PaddedRows(int rows, int max_rows) {
  for (const int size : kSizes) {
    if (size > max_rows) break;
    if (size >= rows) return size;
  }
  return 0;
}

DecodeGraphs::~DecodeGraphs() {
  for (const auto& [rows, graph] : graphs_) (void)cudaGraphExecDestroy(graph);
}

absl::Status DecodeGraphs::Record(int rows, cudaStream_t stream,
                                  absl::FunctionRef<void()> enqueue) {
  cudaGraph_t graph = nullptr;
  CheckCuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording a step");
  enqueue();
  CheckCuda(cudaStreamEndCapture(stream, &graph), "recording a step");
  cudaGraphExec_t executable = nullptr;
  cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
  CheckCuda(cudaGraphDestroy(graph), "recording a step");
  if (error == cudaSuccess) {
    graphs_[rows] = executable;
    error = cudaGraphUpload(executable, stream);
  }
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    return absl::ResourceExhaustedError(
        absl::StrCat("the GPU has no memory for a recorded step of ", rows, " rows"));
  }
  CheckCuda(error, "recording a step");
  return absl::OkStatus();
}

bool DecodeGraphs::Launch(int rows, cudaStream_t stream) const {
#if defined(BUG_GRAPH_SMALLER)
  auto found = graphs_.find(rows);
  if (found != graphs_.end() && found != graphs_.begin()) --found;  // planted: leaves rows out
#elif defined(BUG_GRAPH_NEVER)
  const auto found = graphs_.end();  // planted: all is enqueued verb by verb
#else
  const auto found = graphs_.find(rows);
#endif
  if (found == graphs_.end()) return false;
#if defined(BUG_GRAPH_STREAM)
  stream = nullptr;  // planted: nothing keeps it behind the copy of its batch
#endif
  CheckCuda(cudaGraphLaunch(found->second, stream), "launching a step");
  return true;
}

}  // namespace kvasir::cuda
