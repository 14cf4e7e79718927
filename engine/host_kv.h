// The host's memory beside a GPU's KV pool: whether, and how much of it.
#ifndef KVASIR_ENGINE_HOST_KV_H_
#define KVASIR_ENGINE_HOST_KV_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/engine.h"
#include "engine/model/config.h"
#include "engine/model/qwen3.h"

namespace kvasir {

struct HostKv {
  int blocks = 0;
  std::string reason;  // what decided; empty where nothing had to be decided
};

// Seconds for one block.
struct HostKvCosts {
  double copying = 0;    // to the host's memory and back
  double computing = 0;  // as a part of a prompt
};
// "auto": as many as there may be, where a copy costs less than what it saves.
HostKv DecideHostKv(const HostKvCosts& costs, int blocks);

// Blocks of a given size, allocated; 0 where options leave it open or want none. `available`: bytes
// of the host's memory. INVALID_ARGUMENT where the backend has no use for them, or nothing finds
// them again; RESOURCE_EXHAUSTED where they do not fit.
absl::StatusOr<int> AllocateHostKv(const EngineOptions& options, const ModelConfig& config,
                                   int64_t available, Backend& backend);

// Where options leave it open: measures both costs, that of computing in a step of `step_rows`
// rows, decides, and allocates up to `bytes`. REQUIRES: nothing is in the pool.
HostKv ChooseHostKv(const EngineOptions& options, const ModelConfig& config, int pool_blocks,
                    int64_t bytes, int step_rows, Backend& backend, Qwen3& model);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_HOST_KV_H_
