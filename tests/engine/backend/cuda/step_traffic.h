#ifndef KVASIR_TESTS_ENGINE_BACKEND_CUDA_STEP_TRAFFIC_H_
#define KVASIR_TESTS_ENGINE_BACKEND_CUDA_STEP_TRAFFIC_H_

#include <simt_counts.h>

#include <cstdint>
#include <map>
#include <string>

#include "engine/model/config.h"

namespace kvasir::cuda {

// Qwen3-4B, with so many layers.
ModelConfig Qwen3Of4B(int layers);

// A step: `batch` sequences, each with `rows` new tokens after `context - rows` cached ones, all of
// whose last rows get logits.
struct StepShape {
  int batch = 1;
  int rows = 1;
  int context = 1;
};

using Traffic = std::map<std::string, simt::KernelCounts>;

// What the kernels of one step ask of an emulated GPU. Weights are random.
Traffic CountStep(const ModelConfig& config, const StepShape& shape);

// What a step of `layers` layers asks, from what it asks with one and with two.
Traffic ScaleLayers(const Traffic& one, const Traffic& two, int layers);

// What attention asks in one layer of `config`, counted in a model in which nothing else is large:
// it depends on heads and contexts alone.
Traffic CountAttention(const ModelConfig& config, const StepShape& shape);
// A step's traffic with this attention in each of the layers instead of its own.
Traffic WithAttention(const Traffic& step, const Traffic& attention, int layers);

// What a line through two points asks at a third.
Traffic Extrapolate(const Traffic& first, double at_first, const Traffic& last, double at_last,
                    double at);

simt::KernelCounts Sum(const Traffic& traffic);

// Bytes that a step cannot do without: every weight once, the cached K and V of every sequence.
int64_t LeastBytes(const ModelConfig& config, const StepShape& shape);

}  // namespace kvasir::cuda

#endif  // KVASIR_TESTS_ENGINE_BACKEND_CUDA_STEP_TRAFFIC_H_
