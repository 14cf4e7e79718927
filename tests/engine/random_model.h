#ifndef KVASIR_TESTS_ENGINE_RANDOM_MODEL_H_
#define KVASIR_TESTS_ENGINE_RANDOM_MODEL_H_

#include <cstdint>
#include <string>

#include "engine/engine.h"

namespace kvasir::testing {

// A small Qwen3 with random weights, scaled so that its logits are far from uniform, written to
// disk once a process and shape.
class RandomModel {
 public:
  static constexpr int kVocab = 331;
  static constexpr int kEos = 330;

  struct Shape {
    int layers = 3;
    int heads = 4;
    int kv_heads = 2;
    int64_t max_positions = 8192;
    int64_t kv_tokens = 16384;  // of the KV pool, in bf16
  };

  // On the CPU, or where KVASIR_TEST_GPU_PLUGIN names a GPU's library, on that GPU, deterministic.
  // Where KVASIR_TEST_SESSION_STORE is set, sessions are in an SQLite file of their own.
  static EngineOptions Options(Shape shape);
  static EngineOptions Options() { return Options(Shape()); }
  static bool OnGpu();
  // Bytes of K and V of so many tokens.
  static int64_t KvBytes(Shape shape, int64_t tokens);

  // Whether this CPU can run the kernel set.
  static bool HasKernel(const std::string& kernel);
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_RANDOM_MODEL_H_
