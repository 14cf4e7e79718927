// The seam to a backend that lies in a shared library of its own, so that one program serves hosts
// with and without a GPU: what both sides are compiled from.
#ifndef KVASIR_ENGINE_BACKEND_PLUGIN_H_
#define KVASIR_ENGINE_BACKEND_PLUGIN_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/config.h"
#include "engine/backend/backend.h"

namespace kvasir {

// What a GPU backend plans its memory by.
struct GpuBackendOptions {
  AttentionShape attention;
  int hidden = 0;
  int ffn = 0;
  int vocab = 0;
  int layers = 0;
  int max_positions = 0;
  // Rows of a step; where nobody says how many, so many: enough for the narrowest product of 4B to
  // fill a large GPU with tiles of 128 x 128 more than twice. More would keep a call that comes
  // waiting for longer, and take memory from the KV pool.
  int max_step_tokens = 2048;
  int max_sequences = 256;  // of a step; likewise: the largest step that is recorded as a graph
  int max_logits = 0;       // rows of a step with logits
  int device = 0;           // as the driver counts them
  // Bits do not depend on what is computed together (invariant I1), at some cost for long prompts.
  bool deterministic = false;
  double memory_fraction = 0.9;  // of the device's memory, for all that Kvasir takes
};

// What both sides must have been compiled from alike. `headers`: KVASIR_PLUGIN_INTERFACE, a hash of
// this header and of those of ours that it includes, which the build defines (cmake/Plugin.cmake);
// the sizes speak for the other libraries' types.
constexpr uint64_t PluginInterface(uint64_t headers) {
  constexpr uint64_t kPrime = 0x100000001b3;  // FNV-1a
  for (const uint64_t part :
       {sizeof(GpuBackendOptions), sizeof(Batch), sizeof(DeviceBatch), sizeof(PackedWeight),
        sizeof(SamplingRow), sizeof(SamplingParams), sizeof(SampledToken), sizeof(absl::Status),
        sizeof(Backend::Forward), sizeof(std::string), size_t{ABSL_LTS_RELEASE_VERSION}}) {
    headers = (headers ^ part) * kPrime;
  }
  return headers;
}

// What the library's one symbol returns. Statuses cross as (code, text): nothing is thrown.
struct Plugin {
  uint64_t interface = 0;  // PluginInterface, as the library was compiled
  // absl::StatusCode; 0: `backend` is there. NOT_FOUND: no driver or no such device.
  // FAILED_PRECONDITION: the device is too old. RESOURCE_EXHAUSTED: too little memory.
  // INVALID_ARGUMENT: a model that it does not compute.
  int (*create)(const GpuBackendOptions& options, std::unique_ptr<Backend>& backend,
                std::string& error) = nullptr;
};
inline constexpr char kPluginSymbol[] = "kvasir_plugin";
extern "C" using PluginFunction = const Plugin * ();

}  // namespace kvasir

#endif  // KVASIR_ENGINE_BACKEND_PLUGIN_H_
