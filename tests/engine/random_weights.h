// Weights that nobody trained, for a model whose speed alone is looked at.
#ifndef KVASIR_TESTS_ENGINE_RANDOM_WEIGHTS_H_
#define KVASIR_TESTS_ENGINE_RANDOM_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/model/config.h"
#include "engine/model/weights.h"

namespace kvasir {

// bf16 of both signs from 2^-7 to 2^-5: about what a trained matrix of a few thousand columns has.
std::vector<uint16_t> RandomBf16(size_t count);

// Elements of the model's largest matrix, as it is packed.
size_t LargestMatrix(const ModelConfig& config);

// Every matrix is a stretch of `random`, which one it is differs; norms are ones.
// REQUIRES: LargestMatrix elements in `random`.
Weights RandomWeights(const ModelConfig& config, const std::vector<uint16_t>& random,
                      Backend& backend);

}  // namespace kvasir

#endif  // KVASIR_TESTS_ENGINE_RANDOM_WEIGHTS_H_
