#ifndef KVASIR_TESTS_ENGINE_MODEL_CHECKPOINT_WRITER_H_
#define KVASIR_TESTS_ENGINE_MODEL_CHECKPOINT_WRITER_H_

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/model/config.h"
#include "engine/tensor.h"

namespace kvasir::testing {

// config.json of `config`, in transformers' older spelling.
std::string ConfigJson(const ModelConfig& config);

struct TensorBytes {
  std::string name;
  std::string dtype;  // "BF16", "F16", "F32"
  std::vector<int64_t> shape;
  std::string bytes;
};

// All tensors of `config`, random: rows of matrices have norm about 1.5, so that signals neither
// die nor explode over layers and the head spreads the logits over several units; norms lie
// around 1.
std::vector<TensorBytes> RandomTensors(const ModelConfig& config, uint32_t seed,
                                       DType dtype = DType::kBf16);

// A safetensors file of these, in this order.
std::string Safetensors(const std::vector<TensorBytes>& tensors);
// The same with a header of the caller's making.
std::string Safetensors(const std::string& header, const std::string& data);

void WriteFile(const std::filesystem::path& path, const std::string& bytes);

// model.safetensors, or with shards > 1 the shards and their index, tensors dealt out in turn.
void WriteTensors(const std::filesystem::path& dir, const std::vector<TensorBytes>& tensors,
                  int shards = 1);

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_MODEL_CHECKPOINT_WRITER_H_
