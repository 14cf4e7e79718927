// Any bytes as config.json and generation_config.json: what is accepted is safe to compute with.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/check.h"
#include "engine/model/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
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
  KVASIR_CHECK(kvasir::ParameterCount(*config) > 0);
  return 0;
}
