#ifndef KVASIR_TESTS_ENGINE_PARITY_MUTATED_BACKEND_H_
#define KVASIR_TESTS_ENGINE_PARITY_MUTATED_BACKEND_H_

#include <memory>

#include "engine/backend/backend.h"
#include "engine/model/config.h"

namespace kvasir {

// Ways to be subtly wrong that have all been shipped by somebody.
enum class Mutation {
  kNone,
  kRopeBeforeNorm,
  kInterleavedPairs,        // (2i, 2i + 1) turn together, not (i, i + D/2)
  kHeadDimOfHiddenInRope,   // hidden / heads in place of head_dim: in RoPE's exponent
  kHeadDimOfHiddenInScale,  // ... in the scale of attention's scores
  kThetaHardCoded,          // 1e6, whatever config.json says
  kRopeTableShort,          // 512 rows; later positions take the last one
  kMaskFromChunkStart,      // a chunk's rows see only as many keys as the chunk has before them
  kNoMaskOnWarmCache,       // a chunk's rows see the whole chunk where something is cached
  kPositionsRestart,        // RoPE counts from the start of the chunk
  kSingleRowBlind,          // a sequence with one row in the step does not see its own key
  kNormPlusOne,             // weight + 1 in the norms over the residual stream
  kHeadNormPlusOne,         // ... in q_norm and k_norm
  kGroupsInterleaved,       // query head h reads kv head h % K, not h / (H / K)
};
inline constexpr Mutation kMutations[] = {
    Mutation::kRopeBeforeNorm,        Mutation::kInterleavedPairs,
    Mutation::kHeadDimOfHiddenInRope, Mutation::kHeadDimOfHiddenInScale,
    Mutation::kThetaHardCoded,        Mutation::kRopeTableShort,
    Mutation::kMaskFromChunkStart,    Mutation::kNoMaskOnWarmCache,
    Mutation::kPositionsRestart,      Mutation::kSingleRowBlind,
    Mutation::kNormPlusOne,           Mutation::kHeadNormPlusOne,
    Mutation::kGroupsInterleaved,
};
const char* NameOf(Mutation mutation);

// A backend that does NormRopeStore and Attention in plain scalar code over an f32 cache of its own
// and leaves the other verbs to `inner`. With Mutation::kNone it is right; any other one is planted
// in the layers from `first_layer` on (the norms over the residual stream: in all).
std::unique_ptr<Backend> CreateMutatedBackend(std::unique_ptr<Backend> inner,
                                              const ModelConfig& config, Mutation mutation,
                                              int first_layer = 0);

}  // namespace kvasir

#endif  // KVASIR_TESTS_ENGINE_PARITY_MUTATED_BACKEND_H_
