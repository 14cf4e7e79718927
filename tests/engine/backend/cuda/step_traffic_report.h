#ifndef KVASIR_TESTS_ENGINE_BACKEND_CUDA_STEP_TRAFFIC_REPORT_H_
#define KVASIR_TESTS_ENGINE_BACKEND_CUDA_STEP_TRAFFIC_REPORT_H_

#include "tests/engine/backend/cuda/step_traffic.h"

namespace kvasir::cuda {

inline constexpr int kLayers = 36;  // of Qwen3-4B

// At real shapes, from one and two layers. By line (KernelCounts): those of one layer.
Traffic CountWholeStep(const StepShape& shape);

// Read and written: what memory must move at the least, and what L2 must.
double DistinctBytes(const Traffic& traffic);
double RequestedBytes(const Traffic& traffic);

// A Markdown table, a row for each kernel and one for all.
void PrintKernels(const Traffic& traffic);

// The tables of docs/cuda.md. False: a goal is missed.
bool PrintAll();

}  // namespace kvasir::cuda

#endif  // KVASIR_TESTS_ENGINE_BACKEND_CUDA_STEP_TRAFFIC_REPORT_H_
