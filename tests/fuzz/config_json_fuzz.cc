// Any bytes as config.json, generation_config.json and model.safetensors.index.json: what is
// accepted is safe to compute with, and names no file outside of its directory.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

#include "engine/check.h"
#include "engine/model/config.h"
#include "engine/model/shard_index.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  if (const auto shards = kvasir::ParseShardIndex(json); shards.ok()) {
    for (const auto& [tensor, shard] : *shards) {
      KVASIR_CHECK(std::filesystem::path(shard).filename() == shard && shard != "..");
    }
  }
  const auto config = kvasir::ParseModelConfig(json);
  if (!config.ok()) {
    kvasir::ModelConfig other;
    other.vocab = 1000;
    const auto generation = kvasir::ParseGenerationConfig(json, "{}", other);
    if (generation.ok()) {
      for (int id : generation->eos_token_ids) KVASIR_CHECK(id >= 0 && id < other.vocab);
    }
    return 0;
  }
  KVASIR_CHECK(config->heads % config->kv_heads == 0 && config->head_dim % 2 == 0);
  KVASIR_CHECK(config->norm_eps > 0 && config->norm_eps <= 1);
  KVASIR_CHECK(config->rope_theta >= 1 && std::isfinite(config->rope_theta));
  KVASIR_CHECK(kvasir::ParameterCount(*config) > 0);
  return 0;
}
